"""Submitting many jobs at once."""

from collections.abc import Sequence
from typing import Any

from backroom.model.job import NewJob
from services.api.bodies import JobsBody
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import BodyLimit, Call, Reply, Resource
from services.api.http.validation import NoQuery
from services.api.routes.submit import SUBMIT_HEADERS
from services.api.schemas import BulkAnswer
from services.api.submission import Draft, foreign_id, prepare

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
    prepared = prepare(call, drafts)
    if call.principal.bound:
        _check_ids(call, prepared)
    submitted = call.backend.store.submission.submit(prepared, once=call.once)
    jobs = [{"id": one.id, "state": one.state, "duplicate": one.duplicate} for one in submitted]
    return Answer(202, {"jobs": jobs})


def _check_ids(call: Call[Any, Any], jobs: Sequence[NewJob]) -> None:
    """Raise `Problem` (403) if the id of one is in use by a job that the key may not see."""
    own_ids = [job.id for job in jobs if job.options.job_id]
    for job_id, place in zip(own_ids, call.backend.store.inspection.places(own_ids), strict=True):
        if place is not None and not call.principal.may_touch(queue=place.queue, name=place.name):
            raise foreign_id(call.principal, job_id)
