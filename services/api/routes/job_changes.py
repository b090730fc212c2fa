"""Changing a job that has not been started, without overwriting what others have changed."""

from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, model_validator

from backroom.model.errors import Stale, WrongState
from backroom.model.job import Job, NewJob, compact_json, new_job
from backroom.model.options import MAX_PRIORITY, MAX_TAGS, JobTag
from backroom.model.states import FINISHED, State
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.problems import Problem
from services.api.http.validation import Input, NoQuery
from services.api.schemas import JobView
from services.api.submission import known_type
from services.api.views import job_etag, job_view, versions_in
from services.api.visibility import visible_job

__all__ = ["resource"]

resource = Resource("Changing", "Data, priority and tags of a job that has not been started.")

#: How often `If-Match: *` looks anew at a job that changes under its hands.
MAX_LOOKS: Final = 10


class ChangeBody(Input):
    """What to change; the rest stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    data: Any = Field(default=None, description="Replaces all of it; checked against the schema of the job's type.")
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)] | None = None
    tags: Annotated[list[JobTag], Field(max_length=MAX_TAGS)] | None = Field(default=None, description="Replace all.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if "data" not in self.model_fields_set and self.priority is None and self.tags is None:
            raise ValueError("give data, priority or tags")
        return self


@resource.operation(
    "PATCH",
    "/v1/jobs/{jobId}",
    access=Access.OPERATE,
    query=NoQuery,
    body=ChangeBody,
    replies={200: Reply("The job as it is now.", JobView, headers={"ETag": "Changes with the job."})},
    problems=(404, 409, 412, 428),
    headers={"If-Match": "The ETag of the job as it was read; * for whatever it is now. Without it: 428."},
)
def change_job(call: Call[NoQuery, ChangeBody]) -> Answer:
    """Change a job that does not run.

    412 if it has changed since it was read, 409 if it runs or has finished: then nothing was changed.
    """
    job = visible_job(call, call.path["jobId"])
    wanted = call.headers.get("If-Match")
    if wanted is None:
        detail = "This call needs the ETag of the job, as GET answers it, in the header If-Match."
        raise Problem("precondition-required", detail)
    if job.state is State.ACTIVE or job.state in FINISHED:
        raise WrongState(job.id, job.state, "changed")
    new = _new_data(call, job) if "data" in call.body.model_fields_set else None
    if wanted.strip() == "*":
        _change_whatever_it_is(call, job, new)
    elif job.version in versions_in(wanted):
        _change(call, job, new)
    else:
        raise Stale(job.id)
    now = visible_job(call, job.id)
    return Answer(200, job_view(now), headers={"ETag": job_etag(now), "Cache-Control": "no-cache"})


def _change_whatever_it_is(call: Call[NoQuery, ChangeBody], job: Job, new: NewJob | None) -> None:
    for _ in range(MAX_LOOKS):
        try:
            return _change(call, job, new)
        except Stale:
            job = visible_job(call, job.id)
    raise Stale(job.id)


def _change(call: Call[NoQuery, ChangeBody], job: Job, new: NewJob | None) -> None:
    """Change the job if it is still what ``job`` says."""
    body = call.body
    tags = None if body.tags is None else list(dict.fromkeys(body.tags))
    options = {"priority": body.priority, "tags": tags}
    call.backend.store.actions.update(
        job.id,
        job.version,
        data=None if new is None else new.data,
        user_id=None if new is None else new.user_id,
        priority=body.priority,
        tags=tags,
        options=compact_json(job.options | {name: value for name, value in options.items() if value is not None}),
    )


def _new_data(call: Call[NoQuery, ChangeBody], job: Job) -> NewJob:
    """A job with the new data, checked as a submission of it would be. Raises `InvalidInput`, `TooLarge`."""
    settings, data = call.backend.settings, call.body.data
    new = new_job(
        name=job.name,
        data=data,
        queue=job.queue,
        max_data_bytes=settings.max_data_bytes,
        max_depth=settings.max_data_depth,
    )
    known = known_type(call.backend, job.name, pointer="/data")
    if known is not None:
        known.check(data, "/data")
    return new
