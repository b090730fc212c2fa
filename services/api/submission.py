"""From what a caller sent to a stored job: the one road for every submitting call."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from backroom.model.errors import FieldError, InvalidInput, NotFound, StoreUnavailable
from backroom.model.job import DEFAULT_QUEUE, DELIVER_WEBHOOK, Job, NewJob, Submitted, format_time, new_job
from backroom.model.options import JobOptions
from backroom.model.states import FINISHED, State
from backroom.store.records import from_ms
from services.api.backend import Backend
from services.api.http.access import Principal
from services.api.http.answers import Answer
from services.api.http.operation import Call
from services.api.http.problems import Problem
from services.api.job_types import KnownType
from services.api.views import job_links, job_view, unfinished_headers

__all__ = ["Draft", "as_submitted", "foreign_id", "known_type", "prepare", "submit_one"]


class Draft(msgspec.Struct, frozen=True):
    """A job as a caller described it, not yet checked against its type."""

    name: str
    data: Any
    queue: str | None
    options: JobOptions
    #: The place of the job in the body, such as ``/jobs/1``.
    pointer: str = ""


def prepare(call: Call[Any, Any], drafts: Sequence[Draft]) -> list[NewJob]:
    """Check drafts against their job types and complete them.

    Raises `InvalidInput` with everything that is wrong in any of them, `TooLarge`, `Problem` (403 outside the key's
    lists, 503 while there are no job types).
    """
    jobs: list[NewJob] = []
    errors: list[FieldError] = []
    types: dict[str, KnownType | None] = {}
    trace = call.traceparent
    for place, draft in enumerate(drafts):
        try:
            if draft.name not in types:
                types[draft.name] = _type_of(call.backend, draft)
            job = _prepared(call.backend, call.principal, draft, types[draft.name], trace, call.request_id)
            if call.claim is not None and not job.options.job_id:
                job = msgspec.structs.replace(job, id=call.new_id(place))
            jobs.append(job)
        except InvalidInput as error:
            errors += error.errors
    if errors:
        raise InvalidInput(errors)
    return jobs


def known_type(backend: Backend, name: str, *, pointer: str) -> KnownType | None:
    """The job type of this name; None for one that nobody offers, where the operator allows such names.

    Raises as `Catalogue.find` does where not.
    """
    try:
        return backend.job_types.find(name, pointer=pointer)
    except (InvalidInput, Problem):
        if not backend.settings.allow_unknown_job_types:
            raise
        return None


def _type_of(backend: Backend, draft: Draft) -> KnownType | None:
    if draft.name == DELIVER_WEBHOOK:  # nobody offers it, but operators may let pass what nobody offers
        raise InvalidInput.at(f"{draft.pointer}/name", "reserved-name", "is the stack's own: it delivers webhooks")
    return known_type(backend, draft.name, pointer=f"{draft.pointer}/name")


def _prepared(
    backend: Backend, principal: Principal, draft: Draft, known: KnownType | None, trace: str | None, request_id: str
) -> NewJob:
    settings = backend.settings
    options = draft.options
    queue = draft.queue
    if known is not None:
        queue = queue or known.queue
        options = options.merged(known.defaults)
    job = new_job(
        name=draft.name,
        data=draft.data,
        queue=queue or DEFAULT_QUEUE,
        options=options,
        traceparent=trace,
        request_id=request_id,
        pointer=draft.pointer,
        is_parsed=True,
        max_data_bytes=settings.max_data_bytes,
        max_depth=settings.max_data_depth,
    )
    if not principal.may_touch(queue=job.queue, name=job.name):
        detail = f"The key {principal.name!r} may not submit {job.name!r} to the queue {job.queue!r}."
        raise Problem("forbidden", detail)
    if known is not None:
        known.check(draft.data, f"{draft.pointer}/data")
    return job


def _seen(principal: Principal, job: Job) -> Job:
    """The job, which has an id that was asked for. Raises `Problem` (403) if the key may not see it."""
    if not principal.may_touch(queue=job.queue, name=job.name):
        raise foreign_id(principal, job.id)
    return job


def foreign_id(principal: Principal, job_id: str) -> Problem:
    """A job id that somebody else's job has: there is one id for all queues, and that job is none of the key's."""
    detail = f"The id {job_id!r} is in use by a job that is not of the queues and job types of the key"
    return Problem("forbidden", f"{detail} {principal.name!r}.")


def submit_one(call: Call[Any, Any], draft: Draft) -> Answer:
    """Store one job and answer it: 202, or 200 for a job id in use or for a job that ended while the caller waited.

    Raises as `prepare` does, and `Problem` (503, nothing stored) if the caller wants to wait and too many do already.
    """
    [new] = prepare(call, [draft])
    wait = call.wait
    if wait is None:
        job, duplicate = _stored(call, new, draft.data)
        return _answer(job, duplicate=duplicate)
    with call.backend.waiters.seat() as seat:
        job, duplicate = _stored(call, new, draft.data)
        with suppress(NotFound, StoreUnavailable):  # it is stored already: nothing that happens now may say otherwise
            job = seat.until_finished(job.id, wait)
    return _answer(job, duplicate=duplicate, waited=wait)


def _answer(job: Job, *, duplicate: bool, waited: int | None = None) -> Answer:
    done = duplicate or (waited is not None and job.state in FINISHED)
    headers = {"Location": job_links(job.id)["self"], **unfinished_headers(job)}
    if waited is not None:
        headers["Preference-Applied"] = f"wait={waited}"
    return Answer(200 if done else 202, {**job_view(job), "duplicate": duplicate}, headers=headers)


def _stored(call: Call[Any, Any], new: NewJob, data: object) -> tuple[Job, bool]:
    """Store the job; return it as it is now, and whether its id was in use, so that it is another one.

    Raises `Problem` (403) if the id is that of a job which the key may not see.

    A new job is not read back, which would double what a submission costs, unless its queue holds it: then the reason
    is news.
    """
    store = call.backend.store
    while True:
        [submitted] = store.submission.submit([new], once=call.once)
        if not submitted.duplicate and (not submitted.held or submitted.state is State.DELAYED):
            return as_submitted(new, submitted, data), False
        try:
            return _seen(call.principal, store.inspection.get(new.id)), submitted.duplicate
        except NotFound:
            if not submitted.duplicate:  # it has ended and was removed at once, as removeOnComplete may ask
                return as_submitted(new, submitted, data), False
            # the job that had the id has just been removed: the id is free
        except StoreUnavailable:
            if submitted.duplicate:
                raise
            return as_submitted(new, submitted, data), False


def as_submitted(new: NewJob, submitted: Submitted, data: object) -> Job:
    """The job as it was submitted with this ``data``."""
    options = new.options
    created = datetime.fromtimestamp(submitted.at / 1000, UTC)
    run_at, reason = None, None
    if submitted.state is State.DELAYED:
        due = options.run_at_ms()
        run_at = from_ms(submitted.due(options.delay or 0) if due is None else due)
        reason = {"code": "delayed", "until": format_time(run_at)}
    return Job(
        id=new.id,
        name=new.name,
        queue=new.queue,
        state=submitted.state,
        state_reason=reason,
        data=data,
        options=options.to_dict(),
        priority=options.priority or 0,
        tags=options.tags or (),
        attempts_made=0,
        attempts=options.attempts or 1,
        stalled=0,
        progress=None,
        result=None,
        error=None,
        created_at=created,
        run_at=run_at,
        started_at=None,
        finished_at=None,
        wait_ms=None,
        run_ms=None,
        worker=None,
        trace_id=new.traceparent.split("-")[1] if new.traceparent else None,
        version="",
    )
