"""What happens, as it happens."""

from collections.abc import Callable
from typing import Any, Final, Literal

from pydantic import Field

from backroom.model.errors import NotFound
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.feed import Topic
from services.api.http.line import Line
from services.api.http.operation import Call, Reply, Resource
from services.api.http.streams import EVENT_TYPES, EventStream
from services.api.http.validation import NoBody, NoQuery, Query
from services.api.queries import Text
from services.api.visibility import narrowed, visible_job

__all__ = ["resource"]

resource = Resource("Events", "What happens, as it happens: server-sent events (text/event-stream).")

_STREAM: Final = Reply(
    "Events: `event` is the type, `id` resumes behind it, `data` is {type, jobId, queue, name, at, ...}.",
    schema={"type": "string"},
    media_type="text/event-stream",
)
_RESUME: Final = {"Last-Event-ID": "The id of the last event that arrived: those behind it are sent."}


class EventsQuery(Query):
    """Which events. A parameter that is repeated means "or"; different ones mean "and"."""

    queue: tuple[Text, ...] = Field(default=(), description="Repeat it for several queues.")
    type: tuple[Literal[EVENT_TYPES], ...] = Field(  # type: ignore[valid-type]  # mypy reads no tuples into literals
        default=(), description="Repeat it for several types; reset is told in any case."
    )


@resource.operation(
    "GET",
    "/v1/events",
    access=Access.READ,
    query=EventsQuery,
    body=NoBody,
    replies={200: _STREAM},
    headers=_RESUME,
)
def stream_events(call: Call[EventsQuery, NoBody]) -> Answer:
    """Stream what happens to jobs and queues.

    From now on, or behind `Last-Event-ID`. A `reset` says that events before it are missing, because the history does
    not reach back so far: then read anew what you show. A comment is sent every 15 seconds when nothing happens.
    """
    queues = narrowed(call.query.queue, call.principal.queues)
    topic = Topic(
        queues=frozenset(queues) if queues else None,
        types=frozenset(call.query.type or EVENT_TYPES),
        names=call.principal.job_types,
    )
    return _streamed(call, lambda **how: EventStream.of_topic(topic=topic, **how))


@resource.operation(
    "GET",
    "/v1/jobs/{jobId}/events",
    access=Access.READ_JOB,
    query=NoQuery,
    body=NoBody,
    replies={200: _STREAM, 204: Reply("It has ended, and all was told: a browser does not connect again.")},
    problems=(404,),
    headers=_RESUME,
)
def stream_job_events(call: Call[NoQuery, NoBody]) -> Answer:
    """Stream what happens to a job, until it has ended.

    The first event says in which state it is; behind `Last-Event-ID`, what has happened since.
    """
    job_id = call.path["jobId"]
    try:
        visible_job(call, job_id)
    except NotFound:
        # One that is gone may have ended since the caller heard of it last: its end is told yet.
        is_there = call.backend.store.inspection.states([job_id]) != [None]
        if is_there or "Last-Event-ID" not in call.headers:
            raise
    topic = Topic(
        job_id=job_id, queues=call.principal.queues, types=frozenset(EVENT_TYPES), names=call.principal.job_types
    )
    return _streamed(call, lambda **how: EventStream.of_job(topic=topic, **how))


def _streamed(call: Call[Any, Any], open_stream: Callable[..., EventStream | None]) -> Answer:
    """The answer that streams. Raises `Problem` (503) if no seat is free."""
    backend = call.backend
    backend.seats.take()
    try:
        stream = open_stream(
            store=backend.store,
            feed=backend.feed,
            last_event_id=call.headers.get("Last-Event-ID"),
            heartbeat_seconds=backend.api_settings.heartbeat_seconds,
            on_close=backend.seats.give_back,
            line=Line(call.request.environ),
        )
    except BaseException:
        backend.seats.give_back()
        raise
    if stream is None:
        backend.seats.give_back()
        return Answer(204)
    return Answer(200, stream, headers={"X-Accel-Buffering": "no"}, content_type="text/event-stream")
