"""Queues: their depth, their brakes and their limits."""

from typing import Annotated, Final

from pydantic import Field

from backroom.model.errors import NotFound
from backroom.model.names import check_name
from backroom.store import Rate
from backroom.store.queues import MAX_LIMIT, MAX_RATE_DURATION_MS
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import Input, NoBody, NoQuery
from services.api.schemas import QueueList, QueueView
from services.api.visibility import check_whole_queue, visible_queues

__all__ = ["resource"]

resource = Resource("Queues", "A queue exists once it is named: by a job, by a pause, or by a limit.")

_QUEUE: Final = {200: Reply("The queue as it is now.", QueueView)}


class RateBody(Input):
    """At most `max` jobs start in each `duration`, over all workers."""

    max: Annotated[int, Field(ge=1, le=MAX_LIMIT)]
    duration: Annotated[int, Field(ge=1, le=MAX_RATE_DURATION_MS, description="In ms.")]


class LimitsBody(Input):
    """The limits of a queue; what is left out or null has no limit."""

    concurrency: Annotated[int, Field(ge=1, le=MAX_LIMIT)] | None = Field(
        default=None, description="Jobs that run at once, over all workers."
    )
    rate: RateBody | None = None
    max_length: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None, description="Waiting and delayed jobs together; submissions above it get a 503."
    )


def _named(call: Call[NoQuery, NoBody] | Call[NoQuery, LimitsBody]) -> str:
    """The queue of the address, which the call may be the first to name."""
    queue = call.path["queue"]
    check_whole_queue(call.principal, queue)
    return check_name(queue, "/queue")


def _existing(call: Call[NoQuery, NoBody]) -> str:
    """The queue of the address: undoing names none, so that a misspelt name is told. Raises `NotFound`."""
    queue = _named(call)
    return call.backend.store.queues.get(queue).name


def _shown(call: Call[NoQuery, NoBody] | Call[NoQuery, LimitsBody], queue: str) -> Answer:
    return Answer(200, call.backend.store.queues.get(queue).to_dict())


@resource.operation(
    "GET",
    "/v1/queues",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("All queues, by name.", QueueList)},
)
def list_queues(call: Call[NoQuery, NoBody]) -> Answer:
    """List the queues."""
    queues = visible_queues(call.principal, call.backend.store.queues.list())
    return Answer(200, {"queues": [queue.to_dict() for queue in queues]})


@resource.operation(
    "GET",
    "/v1/queues/{queue}",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies=_QUEUE,
    problems=(404,),
)
def read_queue(call: Call[NoQuery, NoBody]) -> Answer:
    """Read a queue: counts by state, age of the oldest waiting job, limits, rates."""
    queue = call.path["queue"]
    if not call.principal.is_for_queue(queue):
        raise NotFound("queue", queue)
    return _shown(call, queue)


@resource.operation(
    "POST", "/v1/queues/{queue}/pause", access=Access.OPERATE, query=NoQuery, body=NoBody, replies=_QUEUE
)
def pause_queue(call: Call[NoQuery, NoBody]) -> Answer:
    """Pause a queue.

    Jobs that run go on; no more are started; new ones are taken.
    """
    queue = _named(call)
    call.backend.store.queues.pause(queue)
    return _shown(call, queue)


@resource.operation(
    "POST",
    "/v1/queues/{queue}/resume",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies=_QUEUE,
    problems=(404,),
)
def resume_queue(call: Call[NoQuery, NoBody]) -> Answer:
    """Resume a queue."""
    queue = _existing(call)
    call.backend.store.queues.resume(queue)
    return _shown(call, queue)


@resource.operation(
    "PUT", "/v1/queues/{queue}/limits", access=Access.OPERATE, query=NoQuery, body=LimitsBody, replies=_QUEUE
)
def set_limits(call: Call[NoQuery, LimitsBody]) -> Answer:
    """Set the limits of a queue.

    They hold over all workers together, and replace those there were.
    """
    queue = _named(call)
    body = call.body
    rate = None if body.rate is None else Rate(max=body.rate.max, duration_ms=body.rate.duration)
    call.backend.store.queues.set_limits(queue, concurrency=body.concurrency, rate=rate, max_length=body.max_length)
    return _shown(call, queue)


@resource.operation(
    "DELETE",
    "/v1/queues/{queue}/limits",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies=_QUEUE,
    problems=(404,),
)
def clear_limits(call: Call[NoQuery, NoBody]) -> Answer:
    """Take away the limits of a queue."""
    queue = _existing(call)
    call.backend.store.queues.clear_limits(queue)
    return _shown(call, queue)
