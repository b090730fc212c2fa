"""The event stream: what happened, in order, resumable by id."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
from redis.exceptions import ResponseError

from backroom.store.connection import store_errors
from backroom.store.part import Part

__all__ = ["Event", "EventId", "Events", "Span"]

#: What the client library says when there is no stream.
_NO_KEY: Final = "no such key"
#: The field of a job that has the time of its newest change of state.
_SINCE = {"waiting": "ready", "active": "started"}
_OF_STATE = ("state", "queue", "name", "created", "ready", "started", "finished", "worker", "runAt")


class EventId(NamedTuple):
    """The id of an event, in the order of what happened."""

    #: ms since 1970.
    ms: int
    sequence: int

    @classmethod
    def parse(cls, text: str) -> "EventId":
        """The id that is written as ``ms-sequence``, or ``ms`` alone. Raises `ValueError`."""
        ms, _, sequence = text.partition("-")
        return cls(int(ms), int(sequence or 0))

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}"


class Event(msgspec.Struct, frozen=True):
    """Something that happened."""

    #: The stream's id; give it as ``after`` to go on from here.
    id: str
    type: str
    #: Empty for events of a queue.
    job_id: str
    queue: str
    name: str
    #: ms since 1970.
    at: int
    fields: dict[str, str] = {}  # a new one for each


@dataclass(frozen=True, slots=True)
class Span:
    """Which events there are."""

    #: None: there are none.
    first: EventId | None
    #: The newest that there ever was.
    last: EventId
    #: Whether there were others, which have been forgotten.
    trimmed: bool

    def misses(self, after: EventId) -> bool:
        """Whether something that happened behind ``after`` may be missing."""
        if after > self.last:
            return True  # an id of another life of the store
        return self.trimmed and (self.first is None or after < self.first)


class Events(Part):
    """Reads the stream; the scripts write it, and cap it at about ``BACKROOM_EVENTS_MAX`` events."""

    def last_id(self) -> str:
        """The id of the newest event, or ``0-0``: where reading "from now on" begins."""
        with store_errors():
            rows = self._redis.xrevrange(self._keys.single("events"), count=1)
        return str(rows[0][0]) if rows else "0-0"

    def span(self) -> Span:
        """Which events there are at the moment."""
        with store_errors():
            try:
                info = self._redis.xinfo_stream(self._keys.single("events"))
            except ResponseError as error:
                if str(error) != _NO_KEY:
                    raise
                return Span(None, EventId(0, 0), trimmed=False)
        first = EventId.parse(info["first-entry"][0]) if info["first-entry"] else None
        last = EventId.parse(info["last-generated-id"])
        return Span(first, last, trimmed=info["entries-added"] > info["length"])

    def state_of(self, job_id: str) -> Event | None:
        """Where the job is, as an event: under the id of the newest event that this knows of. None: there is no job."""
        newest, values = self._run("whereabouts", job_id, *_OF_STATE)
        found = dict(zip(_OF_STATE, values, strict=True))
        state = found["state"]
        if state is None:
            return None
        at = found[_SINCE.get(state, "finished")] or found["created"]
        telling = {"active": "worker", "delayed": "runAt"}.get(state, "")
        more = {telling: found[telling]} if found.get(telling) else {}
        return Event(newest or "0-0", state, job_id, found["queue"], found["name"], int(at), more)

    def read(self, after: str, *, block_ms: int | None = None, count: int = 1000) -> list[Event]:
        """Up to ``count`` events behind the id ``after``; waits up to ``block_ms`` for one (None: not at all).

        ``block_ms`` must be below the connection's time-out.
        """
        with store_errors():
            streams = self._redis.xread({self._keys.single("events"): after}, count=count, block=block_ms)
        return [_event(event_id, fields) for _, rows in streams or () for event_id, fields in rows]


def _event(event_id: str, fields: dict[str, str]) -> Event:
    """What was read; takes the fields over. Called for every event, in every process that follows them."""
    take = fields.pop
    at = int(event_id.partition("-")[0])
    return Event(event_id, take("type"), take("job"), take("queue"), take("name"), at, fields)
