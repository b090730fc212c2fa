"""The event stream: what happened, in order, resumable by id."""

from dataclasses import dataclass, field

from backroom.store.connection import store_errors
from backroom.store.part import Part

__all__ = ["Event", "Events"]

_OWN = ("type", "job", "queue", "name")


@dataclass(frozen=True, slots=True)
class Event:
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
    fields: dict[str, str] = field(default_factory=dict)


class Events(Part):
    """Reads the stream; the scripts write it, and cap it at about ``BACKROOM_EVENTS_MAX`` events."""

    def last_id(self) -> str:
        """The id of the newest event, or ``0-0``: where reading "from now on" begins."""
        with store_errors():
            rows = self._redis.xrevrange(self._keys.single("events"), count=1)
        return str(rows[0][0]) if rows else "0-0"

    def read(self, after: str, *, block_ms: int | None = None, count: int = 1000) -> list[Event]:
        """Up to ``count`` events behind the id ``after``; waits up to ``block_ms`` for one (None: not at all).

        ``block_ms`` must be below the connection's time-out.
        """
        with store_errors():
            streams = self._redis.xread({self._keys.single("events"): after}, count=count, block=block_ms)
        return [_event(event_id, fields) for _, rows in streams or () for event_id, fields in rows]


def _event(event_id: str, fields: dict[str, str]) -> Event:
    more = {name: value for name, value in fields.items() if name not in _OWN}
    at = int(event_id.partition("-")[0])
    return Event(event_id, fields["type"], fields["job"], fields["queue"], fields["name"], at, more)
