"""Acting on one job."""

from typing import Annotated, Any, Final, Self

from msgspec.structs import replace
from pydantic import ConfigDict, Field, model_validator

from backroom.model.errors import NotFound
from backroom.model.job import Job
from backroom.model.options import MAX_DURATION_MS, JobOptions
from backroom.model.states import State
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import Input, NoBody, NoQuery
from services.api.queries import Time
from services.api.schemas import JobView
from services.api.views import job_view
from services.api.visibility import visible_job

__all__ = ["resource"]

resource = Resource("Acting", "Cancel, retry, promote, reschedule, remove.")

_CHANGED: Final = {202: Reply("The job as it is now.", JobView)}


class RetryBody(Input):
    """How to retry."""

    reset_attempts: bool = Field(default=False, description="Give it all its tries again; else it has one more.")


class RescheduleBody(Input):
    """The new due time: `delay` from now, or `runAt`."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    delay: Annotated[int, Field(ge=0, le=MAX_DURATION_MS, description="In ms, from now.")] | None = None
    run_at: Time | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.delay is None) == (self.run_at is None):
            raise ValueError("give delay or runAt, one of them")
        return self


def _after(call: Call[Any, Any], before: Job, state: State) -> dict[str, Any]:
    """The job after an action on it; as it must have been, if it was removed since, as ``removeOnFail`` may ask."""
    try:
        return job_view(call.backend.store.inspection.get(before.id))
    except NotFound:
        return job_view(replace(before, state=state, state_reason=None))


@resource.operation(
    "POST",
    "/v1/jobs/{jobId}/cancel",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies={
        200: Reply("It did not run and is cancelled.", JobView),
        202: Reply("It runs; it is stopped within seconds.", JobView),
    },
    problems=(404, 409),
)
def cancel_job(call: Call[NoQuery, NoBody]) -> Answer:
    """Cancel a job.

    409 if it has finished already.
    """
    job = visible_job(call, call.path["jobId"])
    if call.backend.store.actions.cancel(job.id):
        return Answer(200, _after(call, job, State.CANCELLED))
    return Answer(202, _after(call, job, State.CANCELLED))


@resource.operation(
    "POST",
    "/v1/jobs/{jobId}/retry",
    access=Access.OPERATE,
    query=NoQuery,
    body=RetryBody,
    replies=_CHANGED,
    problems=(404, 409),
)
def retry_job(call: Call[NoQuery, RetryBody]) -> Answer:
    """Run a finished job again.

    Its options and priority are kept, its `ttl` begins anew. 409 unless it is completed, failed, cancelled or expired.
    """
    job = visible_job(call, call.path["jobId"])
    call.backend.store.actions.retry(job.id, reset_attempts=call.body.reset_attempts)
    return Answer(202, _after(call, job, State.WAITING))


@resource.operation(
    "POST",
    "/v1/jobs/{jobId}/promote",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies=_CHANGED,
    problems=(404, 409),
)
def promote_job(call: Call[NoQuery, NoBody]) -> Answer:
    """Make a delayed job ready now.

    409 unless it is delayed.
    """
    job = visible_job(call, call.path["jobId"])
    call.backend.store.actions.promote(job.id)
    return Answer(202, _after(call, job, State.WAITING))


@resource.operation(
    "POST",
    "/v1/jobs/{jobId}/reschedule",
    access=Access.OPERATE,
    query=NoQuery,
    body=RescheduleBody,
    replies=_CHANGED,
    problems=(404, 409),
)
def reschedule_job(call: Call[NoQuery, RescheduleBody]) -> Answer:
    """Give a delayed job another due time.

    409 unless it is delayed.
    """
    job = visible_job(call, call.path["jobId"])
    run_at_ms = JobOptions(run_at=call.body.run_at).run_at_ms()
    call.backend.store.actions.reschedule(job.id, run_at_ms=run_at_ms, delay_ms=call.body.delay)
    return Answer(202, _after(call, job, State.DELAYED))


@resource.operation(
    "DELETE",
    "/v1/jobs/{jobId}",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies={204: Reply("It is gone, with its log and its result.")},
    problems=(404, 409),
)
def remove_job(call: Call[NoQuery, NoBody]) -> Answer:
    """Remove a job.

    409 while it runs: cancel it first.
    """
    job = visible_job(call, call.path["jobId"])
    call.backend.store.actions.remove(job.id)
    return Answer(204)
