"""Submitting many jobs at once."""

from services.api.bodies import JobsBody
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import BodyLimit, Call, Reply, Resource
from services.api.http.validation import NoQuery
from services.api.routes.submit import SUBMIT_HEADERS
from services.api.schemas import BulkAnswer
from services.api.submission import Draft, prepare

__all__ = ["resource"]

resource = Resource("Bulk", "Many jobs in one call.")


@resource.operation(
    "POST",
    "/v1/jobs/bulk",
    access=Access.SUBMIT,
    query=NoQuery,
    body=JobsBody,
    replies={202: Reply("All of them are stored, but for the duplicates.", BulkAnswer)},
    headers={"traceparent": SUBMIT_HEADERS["traceparent"]},
    limit=BodyLimit.BULK,
    idempotent=True,
)
def submit_bulk(call: Call[NoQuery, JobsBody]) -> Answer:
    """Submit 1 to 1000 jobs, all or none.

    One bad job and nothing is stored; the pointers say which it is, such as `/jobs/1/options/priority`.
    """
    drafts = [
        Draft(body.name, body.data, body.queue, body.options, pointer=f"/jobs/{place}")
        for place, body in enumerate(call.body.jobs)
    ]
    submitted = call.backend.store.submission.submit(prepare(call, drafts), once=call.once)
    jobs = [{"id": one.id, "state": one.state, "duplicate": one.duplicate} for one in submitted]
    return Answer(202, {"jobs": jobs})
