"""The event stream: what happened, in order, resumable by id."""

from dataclasses import dataclass
from itertools import dropwhile
from typing import Final, NamedTuple

import msgspec
from redis.exceptions import ResponseError

from backroom.store.connection import store_errors
from backroom.store.keys import PART_OF_JOB
from backroom.store.part import Part

__all__ = ["MAX_SEQUENCE", "Event", "EventId", "Events", "Span"]

#: More events than an entry can have.
LAST_PLACE: Final = 2**31
MAX_SEQUENCE: Final = 2**64 - 1
#: What the client library says when there is no stream.
_NO_KEY: Final = "no such key"
#: The field of a job that has the time of its newest change of state.
_SINCE = {"waiting": "ready", "active": "started"}
#: An entry of the stream: of each event its type, job, queue and name, and then fields and values.
_DECODER: Final = msgspec.json.Decoder(list[list[str]])
_OF_STATE = ("state", "queue", "name", "created", "ready", "started", "finished", "worker", "runAt")


class EventId(NamedTuple):
    """The id of an event, in the order of what happened.

    Events that happened in one step are one entry of the stream, ``ms-sequence``, which is also the id of the last of
    them; those before it are ``ms-sequence.1``, ``ms-sequence.2`` and so on.
    """

    #: ms since 1970.
    ms: int
    sequence: int
    #: From 1; that of the last event of an entry is `LAST_PLACE`.
    place: int = LAST_PLACE

    @classmethod
    def parse(cls, text: str) -> "EventId":
        """The id that is written as ``ms-sequence.place``, ``ms-sequence`` or ``ms`` alone. Raises `ValueError`."""
        ms, _, rest = text.partition("-")
        sequence, _, place = rest.partition(".")
        return cls(int(ms), int(sequence or 0), int(place or LAST_PLACE))

    def __str__(self) -> str:
        place = "" if self.place == LAST_PLACE else f".{self.place}"
        return f"{self.ms}-{self.sequence}{place}"

    def before_entry(self) -> str:
        """The greatest id that an entry before the one of this event can have."""
        if self.sequence:
            return f"{self.ms}-{self.sequence - 1}"
        return f"{self.ms - 1}-{MAX_SEQUENCE}" if self.ms else "0-0"


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
    """Reads the stream; the scripts write it, and cap it at about ``BACKROOM_EVENTS_MAX`` entries."""

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
        first = EventId.parse(info["first-entry"][0])._replace(place=1) if info["first-entry"] else None
        last = EventId.parse(info["last-generated-id"])
        return Span(first, last, trimmed=info["entries-added"] > info["length"])

    def state_of(self, job_id: str) -> Event | None:
        """Where the job is, as an event: under the id of the newest event that this knows of. None: there is no job."""
        if PART_OF_JOB.search(job_id):
            return None
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
        """What happened behind the id ``after``; waits up to ``block_ms`` for something to happen (None: not at all).

        Reads up to ``count`` entries of the stream, each with up to 32 events. ``block_ms`` must be below the
        connection's time-out.
        """
        within = EventId.parse(after) if "." in after else None
        begin = after if within is None else within.before_entry()
        with store_errors():
            streams = self._redis.xread({self._keys.single("events"): begin}, count=count, block=block_ms)
        found = [event for _, rows in streams or () for entry_id, fields in rows for event in _events(entry_id, fields)]
        if within is None:
            return found
        return list(dropwhile(lambda event: EventId.parse(event.id) <= within, found))


def _events(entry_id: str, fields: dict[str, str]) -> list[Event]:
    """What an entry tells. Called for every entry, in every process that follows them."""
    at = int(entry_id.partition("-")[0])
    entry = _DECODER.decode(fields["events"])
    ids = [*(f"{entry_id}.{place}" for place in range(1, len(entry))), entry_id]
    return [
        Event(event_id, kind, job, queue, name, at, dict(zip(more[::2], more[1::2], strict=True)))
        for event_id, (kind, job, queue, name, *more) in zip(ids, entry, strict=True)
    ]
