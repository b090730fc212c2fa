"""Reading jobs: lists, one job, its result and its log."""

from typing import Any, Final

from backroom.model.states import FINISHED, State
from backroom.store import JobQuery
from services.api.http.access import Access
from services.api.http.answers import Answer, RawJson
from services.api.http.operation import Call, Reply, Resource
from services.api.http.problems import Problem
from services.api.http.validation import NoBody, NoQuery
from services.api.paging import NEXT_PAGE, next_page
from services.api.queries import JobsQuery, LogsQuery
from services.api.schemas import JobPage, LogPageView, PendingResult, SingleJob
from services.api.views import RETRY_SECONDS, job_etag, job_links, job_view, unfinished_headers
from services.api.visibility import narrowed, visible_job

__all__ = ["resource"]

resource = Resource("Jobs", "What became of them.")

_ENDINGS: Final = {
    State.FAILED: "failed",
    State.CANCELLED: "was cancelled",
    State.EXPIRED: "expired before it was started",
}
_JSON_VALUE: Final[dict[str, Any]] = {"description": "What the job returned: any JSON value."}


@resource.operation(
    "GET",
    "/v1/jobs",
    access=Access.READ,
    query=JobsQuery,
    body=NoBody,
    replies={200: Reply("A page of them.", JobPage, headers=NEXT_PAGE)},
)
def list_jobs(call: Call[JobsQuery, NoBody]) -> Answer:
    """List jobs.

    Pages are exact: none is repeated and none skipped while others are added. Without a filter by state that holds
    whatever changes state meanwhile; with one, a job that leaves the state may be missing.
    """
    query = call.query
    page = call.backend.store.listing.page(
        JobQuery(
            queues=narrowed(query.queue, call.principal.queues),
            states=query.state,
            names=narrowed(query.name, call.principal.job_types),
            tags=query.tag,
            user_ids=query.user_id,
            q=query.q,
            from_=query.from_,
            to=query.to,
            sort=query.sort,
            limit=query.limit,
            cursor=query.cursor,
        )
    )
    headers = next_page("/v1/jobs", query, page.next)
    return Answer(200, {"jobs": [job_view(job) for job in page.jobs], "next": page.next}, headers=headers)


@resource.operation(
    "GET",
    "/v1/jobs/{jobId}",
    access=Access.READ_JOB,
    query=NoQuery,
    body=NoBody,
    replies={
        200: Reply(
            "The job.",
            SingleJob,
            headers={
                "ETag": "Changes with the job.",
                "Retry-After": "Seconds, while it has not finished.",
                "Preference-Applied": "wait=N, if it was asked for.",
            },
        ),
        304: Reply("It has not changed.", headers={"ETag": "The same."}),
    },
    problems=(404,),
    headers={
        "Prefer": "wait=N: answer when the job has ended, at the latest after N seconds (60 at most).",
        "If-None-Match": "An ETag: 304 if the job has not changed since.",
    },
)
def read_job(call: Call[NoQuery, NoBody]) -> Answer:
    """Read a job, with all its tries."""
    job_id, wait = call.path["jobId"], call.wait
    job = visible_job(call, job_id, attempts=True)
    headers: dict[str, str] = {}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
        if job.state not in FINISHED:
            with call.backend.waiters.seat() as seat:
                job = seat.until_finished(job_id, wait, attempts=True)
    headers |= {"ETag": job_etag(job), "Cache-Control": "no-cache", **unfinished_headers(job)}
    if _unchanged(call, headers["ETag"]):
        return Answer(304, headers=headers)
    return Answer(200, job_view(job), headers=headers)


def _unchanged(call: Call[NoQuery, NoBody], etag: str) -> bool:
    known = call.headers.get("If-None-Match", "")
    return known.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}


@resource.operation(
    "GET",
    "/v1/jobs/{jobId}/result",
    access=Access.READ_JOB,
    query=NoQuery,
    body=NoBody,
    replies={
        200: Reply("The bare value.", schema=_JSON_VALUE),
        202: Reply("There is none yet.", PendingResult, headers={"Retry-After": "Seconds."}),
    },
    problems=(404, 409),
)
def read_result(call: Call[NoQuery, NoBody]) -> Answer:
    """Read what a job returned.

    409 if it failed, was cancelled or expired.
    """
    job_id = call.path["jobId"]
    if call.principal.bound:
        visible_job(call, job_id)
    state, result = call.backend.store.inspection.result(job_id)
    if state is State.COMPLETED:
        return Answer(200, RawJson(b"null" if result is None else result.encode()))
    if state in FINISHED:
        detail = f"Job {job_id!r} has no result: it {_ENDINGS[state]}. /v1/jobs/{job_id} says more."
        raise Problem("wrong-state", detail)
    body = {"id": job_id, "state": state, "links": job_links(job_id)}
    return Answer(202, body, headers={"Retry-After": str(RETRY_SECONDS)})


@resource.operation(
    "GET",
    "/v1/jobs/{jobId}/logs",
    access=Access.READ_JOB,
    query=LogsQuery,
    body=NoBody,
    replies={200: Reply("Lines, oldest first.", LogPageView)},
    problems=(404,),
)
def read_logs(call: Call[LogsQuery, NoBody]) -> Answer:
    """Read what a job has logged."""
    job_id = call.path["jobId"]
    if call.principal.bound:
        visible_job(call, job_id)
    page = call.backend.store.inspection.logs(job_id, after=call.query.after, limit=call.query.limit)
    return Answer(200, {"logs": [line.to_dict() for line in page.logs], "next": page.next})
