"""Server-sent events: what happens, sent as it happens, resumable by the id of the last event that arrived."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Self, TypedDict, Unpack

import orjson

from backroom.model.errors import NotFound, StoreUnavailable
from backroom.model.job import format_time
from backroom.store import Event, Store
from backroom.store.events import MAX_SEQUENCE, EventId
from backroom.store.records import from_ms
from services.api.http.answers import Stream
from services.api.http.feed import ENDINGS, RETRY_SECONDS, Batch, Feed, Frame, Topic
from services.api.http.line import Line, chunk_of

__all__ = ["EVENT_TYPES", "EventStream", "frame_of"]

EVENT_TYPES: Final = (
    "added", "waiting", "active", "progress", "delayed", "completed", "failed", "retries-exhausted", "stalled",
    "removed", "duplicated", "paused", "resumed", "drained", "cleaned", "cancelled", "expired", "reset",
)  # fmt: skip
"""What is told; ``reset`` is told by the stream itself: events before it are missing, so read anew what you show."""
RETRY_MS: Final = 2000
"""How long a browser waits before it connects again."""
PACE_SECONDS: Final = 0.1
"""A stream that sends for itself does it no more often than this; what comes in between is sent together."""
PAGE: Final = 100
"""Entries of the stream that are read at once, of up to 32 events each."""
_EVENT_ID: Final = re.compile(r"[0-9]{1,20}(-[0-9]{1,20}([.][0-9]{1,9})?)?")
GONE_SECONDS: Final = 2.0
"""How often a stream on which nothing happens looks whether its caller is there yet."""

_NUMBERS: Final = frozenset({"stalled", "attemptsMade", "removed"})
_OPENING: Final = f"retry: {RETRY_MS}\n".encode()
_HEARTBEAT: Final = b": heartbeat\n"


def frame_of(event: Event) -> Frame:
    """The event as it is sent."""
    more = {name: _value(name, text) for name, text in event.fields.items()}
    data = _frame(event.type, event.id, event.job_id, event.queue, event.name, _time_of(event.at), more)
    return Frame(EventId.parse(event.id), data, event.type in ENDINGS)


@lru_cache(maxsize=16)
def _time_of(ms: int) -> str | None:
    """A time in words: many events are of the same ms."""
    return format_time(from_ms(ms))


def _value(name: str, text: str) -> Any:
    """A field of an event in JSON's words."""
    if name == "progress":
        return json.loads(text)
    if name == "runAt":
        return format_time(from_ms(text))
    return int(text) if name in _NUMBERS else text


def _frame(
    kind: str, event_id: str, job_id: str | None, queue: str | None, name: str | None, at: str | None,
    more: dict[str, Any],
) -> bytes:  # fmt: skip
    data = {"type": kind, "jobId": job_id or None, "queue": queue or None, "name": name or None, "at": at, **more}
    return b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), event_id.encode(), orjson.dumps(data))


class How(TypedDict):
    """How a stream is held."""

    heartbeat_seconds: float
    #: Called once, when the stream has ended.
    on_close: Callable[[], None]
    #: The connection to the caller.
    line: Line


class EventStream(Stream):
    """One caller's stream: an iterator of bytes, to be closed once. Holds a greenlet while it is iterated over.

    That one mostly sleeps: what happens is written to the line by the one who reads it, for all who want to know. It
    wakes up for one who lags behind, for the heartbeat, and at the end.
    """

    def __init__(
        self,
        store: Store,
        feed: Feed,
        topic: Topic,
        *,
        heartbeat_seconds: float,
        on_close: Callable[[], None],
        line: Line,
    ) -> None:
        self._store, self._feed, self._topic = store, feed, topic
        self._heartbeat_seconds, self._on_close, self._line = heartbeat_seconds, on_close, line
        #: Everything up to here has been told.
        self._position = EventId(0, 0)
        self._opening: list[bytes] = [_OPENING]
        self._ended = False
        self._closed = False
        self._subscription = feed.subscribe(topic)
        self._chunks = self._told()

    # Where to begin.

    @classmethod
    def of_topic(cls, store: Store, feed: Feed, topic: Topic, last_event_id: str | None, **how: Unpack[How]) -> Self:
        """Everything of a topic, behind ``last_event_id`` or, without one, from now on. Raises `StoreUnavailable`."""
        stream = cls(store, feed, topic, **how)
        try:
            last = store.events.span().last
            after = last if last_event_id is None else _parsed(last_event_id)
            if after is None:
                stream._opening.append(stream._reset(last))
            stream._position = last if after is None else after
            if stream._position != last:
                stream._subscription.miss()
        except BaseException:
            stream._feed.leave(stream._subscription)
            raise
        return stream

    @classmethod
    def of_job(
        cls, store: Store, feed: Feed, topic: Topic, last_event_id: str | None, **how: Unpack[How]
    ) -> Self | None:
        """The events of a job until it has ended, behind ``last_event_id``, or from the state it is in.

        None: it has ended, and all has been told. Raises `NotFound`, `StoreUnavailable`.
        """
        assert topic.job_id is not None
        stream = cls(store, feed, topic, **how)
        try:
            goes_on = stream._begin_with_job(topic.job_id, last_event_id)
        except BaseException:
            stream._feed.leave(stream._subscription)
            raise
        if not goes_on:
            stream._feed.leave(stream._subscription)
            return None
        return stream

    def _begin_with_job(self, job_id: str, last_event_id: str | None) -> bool:
        now = self._store.events.state_of(job_id)
        last = self._store.events.span().last if now is None else EventId.parse(now.id)
        after = None if last_event_id is None else _parsed(last_event_id)
        told: list[bytes] = []
        if after is not None and not self._store.events.span().misses(after):
            self._position = after
            told = list(self._history(last))
        elif now is None:
            raise NotFound("job", job_id)
        else:
            if last_event_id is not None:
                told.append(self._reset(last))
            if now.type in EVENT_TYPES:
                told.append(frame_of(now).data)
        if now is None and not told:
            raise NotFound("job", job_id)
        self._position = last
        self._opening += told
        self._ended = self._ended or now is None or now.type in ENDINGS
        return bool(told) or not self._ended

    # What is told.

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Nobody listens any more, or all has been told."""
        if not self._closed:
            self._closed = True
            self._feed.leave(self._subscription)
            self._on_close()

    def _told(self) -> Iterator[bytes]:
        yield b"".join(self._opening)
        while not self._ended and not self._feed.is_draining:
            batches, missed = self._subscription.take()
            if missed:
                yield from self._caught_up()
                continue
            data = b"".join(self._behind_position(batches))
            if data:
                yield data
                if not self._ended:
                    time.sleep(PACE_SECONDS)
            elif not self._awaited():
                yield _HEARTBEAT

    def _awaited(self) -> bool:
        """Wait until there is something to look at; False when it is time for a heartbeat."""
        if not self._line.is_open:
            return self._woken()
        self._line.open()
        try:
            with self._subscription.handed_to(self._write):
                return self._woken()
        finally:
            self._line.close()
            self._line.flush()

    def _woken(self) -> bool:
        began = time.monotonic()
        while True:
            left = max(began, self._line.written_at) + self._heartbeat_seconds - time.monotonic()
            if left <= 0:
                return False
            if self._subscription.news.wait(min(left, GONE_SECONDS)):
                return True
            if self._line.is_gone():
                self._ended = True
                return True

    def _write(self, batch: Batch) -> bool:
        """Called by the feed while this stream sleeps: whether it may sleep on."""
        parts = self._behind_position([batch])
        if not parts:
            return True
        if self._line.is_chunked:
            data = batch.chunk if parts[0] is batch.data else chunk_of(b"".join(parts))
        else:
            data = b"".join(parts)
        return self._line.write(data) and not self._ended

    def _behind_position(self, batches: Sequence[Batch]) -> list[bytes]:
        """What is new in the batches, up to the end of the job if it is one job's stream."""
        parts: list[bytes] = []
        for batch in batches:
            if batch.frames[0].id > self._position and self._topic.job_id is None:
                parts.append(batch.data)
                self._position = batch.frames[-1].id
            else:
                parts += self._cut(batch.frames)
        return parts

    def _cut(self, frames: Sequence[Frame]) -> list[bytes]:
        """The frames that are new, up to the end of the job if it is one job's stream."""
        kept = []
        for frame in frames:
            if frame.id > self._position and not self._ended:
                kept.append(frame.data)
                self._position = frame.id
                self._ended = frame.ends and self._topic.job_id is not None
        return kept

    def _caught_up(self) -> Iterator[bytes]:
        """What happened between the position and now, read from the store; while that is away, heartbeats."""
        try:
            yield from self._history(self._store.events.span().last)
        except StoreUnavailable:
            self._subscription.miss()
            yield _HEARTBEAT
            time.sleep(RETRY_SECONDS)

    def _history(self, until: EventId) -> Iterator[bytes]:
        """What happened behind the position, up to ``until``; moves the position along."""
        while self._position < until and not self._ended and not self._feed.is_draining:
            events = self._store.events.read(str(self._position), count=PAGE)
            span = self._store.events.span()
            if span.misses(self._position):
                yield self._reset(self._position)
            ids = [EventId.parse(event.id) for event in events]
            wanted = [
                frame_of(event)
                for event_id, event in zip(ids, events, strict=True)
                if event_id <= until and self._topic.includes(event)
            ]
            if data := b"".join(self._cut(wanted)):
                yield data
            self._position = min(ids[-1], until) if ids else until
        if self._position > until:  # an id of another life of the store
            yield self._reset(until)
            self._position = until

    def _reset(self, position: EventId) -> bytes:
        return _frame("reset", str(position), self._topic.job_id, None, None, format_time(datetime.now(UTC)), {})


def _parsed(last_event_id: str) -> EventId | None:
    """The id that a caller has sent; None for one that we cannot have given it."""
    if not _EVENT_ID.fullmatch(last_event_id.strip()):
        return None
    found = EventId.parse(last_event_id.strip())
    return found if max(found) <= MAX_SEQUENCE else None
