"""Schedules: jobs that are made again and again."""

import time
from typing import Any, Final

from msgspec.structs import replace

from backroom.model.errors import NotFound
from backroom.model.job import NewJob, Submitted, compact_json
from backroom.model.names import check_name
from backroom.model.states import State
from backroom.store.schedules import CELERY_PREFIX, CODE_PREFIX
from backroom.store.schedules import ScheduleView as Schedule
from services.api.bodies import ScheduleBody
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.problems import Problem
from services.api.http.validation import NoBody, NoQuery
from services.api.paging import NEXT_PAGE, next_page
from services.api.queries import PageQuery
from services.api.schemas import JobView, SchedulePage, ScheduleView
from services.api.submission import Draft, as_submitted, prepare
from services.api.views import job_links, job_view

__all__ = ["resource"]

resource = Resource("Schedules", "Jobs that are made again and again: by a cron pattern, or in fixed intervals.")

_SCHEDULE: Final = {200: Reply("The schedule as it is now.", ScheduleView)}
_LOCATION: Final = {"Location": "The schedule."}


def _visible(call: Call[Any, Any]) -> Schedule:
    """The schedule of the address, if there is one and the key may know of it. Raises `NotFound`."""
    schedule = call.backend.store.schedules.get(call.path["key"])
    if not _may_touch(call, schedule):
        raise NotFound("schedule", schedule.key)
    return schedule


def _may_touch(call: Call[Any, Any], schedule: Schedule) -> bool:
    job = schedule.spec.job
    return call.principal.may_touch(queue=job.queue or "", name=job.name)


def _answer(call: Call[Any, Any], key: str, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, call.backend.store.schedules.get(key).to_dict(), headers=headers or {})


@resource.operation(
    "GET",
    "/v1/schedules",
    access=Access.READ,
    query=PageQuery,
    body=NoBody,
    replies={200: Reply("A page of them.", SchedulePage, headers=NEXT_PAGE)},
)
def list_schedules(call: Call[PageQuery, NoBody]) -> Answer:
    """List the schedules, by creation.

    Pages are exact: none is repeated and none skipped while others are put or removed.
    """
    query = call.query
    page = call.backend.store.schedules.page(
        limit=query.limit, cursor=query.cursor, wanted=lambda schedule: _may_touch(call, schedule)
    )
    found = [schedule.to_dict() for schedule in page.schedules]
    headers = next_page("/v1/schedules", query, page.next)
    return Answer(200, {"schedules": found, "next": page.next}, headers=headers)


@resource.operation(
    "PUT",
    "/v1/schedules/{key}",
    access=Access.OPERATE,
    query=NoQuery,
    body=ScheduleBody,
    replies={
        200: Reply("It replaces the one there was.", ScheduleView, headers=_LOCATION),
        201: Reply("It is new.", ScheduleView, headers=_LOCATION),
    },
    problems=(409,),
)
def put_schedule(call: Call[NoQuery, ScheduleBody]) -> Answer:
    """Create or replace a schedule.

    Its job is checked as a submission is, and takes the queue and the defaults that its type has now. While the rhythm
    (`pattern`, `every`, `tz`, `startDate`) stays the same, so do the coming slots; another one begins anew at once. 409
    for a schedule that is defined in code.
    """
    key, spec = call.path["key"], call.body.root
    if key.startswith((CODE_PREFIX, CELERY_PREFIX)):
        raise _defined_in_code(key)
    check_name(key, "/key")
    job = spec.job
    [template] = prepare(call, [Draft(job.name, job.data, job.queue, job.options, pointer="/job")])
    schedules = call.backend.store.schedules
    if call.principal.bound:
        _check_replaceable(call, key)
    is_new = schedules.put(key, spec, template=replace(template, traceparent=None, request_id=None))
    return _answer(call, key, 201 if is_new else 200, {"Location": f"/v1/schedules/{key}"})


def _check_replaceable(call: Call[Any, Any], key: str) -> None:
    """Raise `Problem` (403) if there is a schedule of this key for others' queues or job types."""
    try:
        schedule = call.backend.store.schedules.get(key)
    except NotFound:
        return
    if not _may_touch(call, schedule):
        raise Problem("forbidden", f"The key {call.principal.name!r} may not replace the schedule {key!r}.")


@resource.operation(
    "GET",
    "/v1/schedules/{key}",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("The schedule.", ScheduleView)},
    problems=(404,),
)
def read_schedule(call: Call[NoQuery, NoBody]) -> Answer:
    """Read a schedule: its definition, in words too, its next slots and its last fires."""
    return Answer(200, _visible(call).to_dict())


@resource.operation(
    "DELETE",
    "/v1/schedules/{key}",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies={204: Reply("It is gone; the jobs it has made stay.")},
    problems=(404, 409),
)
def remove_schedule(call: Call[NoQuery, NoBody]) -> Answer:
    """Remove a schedule.

    409 for one that is defined in code, unless no worker offers its job type any more.
    """
    schedule = _visible(call)
    if schedule.key.startswith(CELERY_PREFIX):
        raise _defined_in_code(schedule.key)
    if schedule.key.startswith(CODE_PREFIX) and call.backend.store.job_types.get(schedule.spec.job.name) is not None:
        raise _defined_in_code(schedule.key)
    call.backend.store.schedules.remove(schedule.key)
    return Answer(204)


def _defined_in_code(key: str) -> Problem:
    where = "in the code of a job" if key.startswith(CODE_PREFIX) else "by the configuration of a Celery application"
    return Problem("defined-in-code", f"The schedule {key!r} is defined {where}, and can only be changed there.")


@resource.operation(
    "POST",
    "/v1/schedules/{key}/pause",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies=_SCHEDULE,
    problems=(404,),
)
def pause_schedule(call: Call[NoQuery, NoBody]) -> Answer:
    """Pause a schedule.

    It makes no jobs until it is resumed; those it has made go on.
    """
    key = _visible(call).key
    call.backend.store.schedules.pause(key)
    return _answer(call, key)


@resource.operation(
    "POST",
    "/v1/schedules/{key}/resume",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies=_SCHEDULE,
    problems=(404,),
)
def resume_schedule(call: Call[NoQuery, NoBody]) -> Answer:
    """Resume a schedule.

    It goes on with the first slot from now on: what was left out is not made up.
    """
    key = _visible(call).key
    call.backend.store.schedules.resume(key)
    return _answer(call, key)


@resource.operation(
    "POST",
    "/v1/schedules/{key}/run",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies={202: Reply("The job.", JobView, headers={"Location": "The job."})},
    problems=(404,),
    idempotent=True,
)
def run_schedule(call: Call[NoQuery, NoBody]) -> Answer:
    """Make the job of a schedule now.

    Its slots stay as they are; a paused or finished schedule can be run too.
    """
    schedule = _visible(call)
    job_id = call.backend.store.schedules.run(schedule.key, job_id=call.new_id(), once=call.once)
    try:
        job = call.backend.store.inspection.get(job_id)
    except NotFound:  # it has ended and was removed at once, as removeOnComplete may ask
        submitted = Submitted(job_id, State.WAITING, duplicate=False, at_micros=time.time_ns() // 1000, held=False)
        wanted = schedule.spec.job
        new = NewJob(
            id=job_id,
            name=wanted.name,
            queue=wanted.queue or "",
            data=compact_json(wanted.data),
            options=wanted.options,
        )
        job = as_submitted(new, submitted, wanted.data)
    return Answer(202, job_view(job), headers={"Location": job_links(job.id)["self"]})
