"""Which jobs a list or a bulk action is about."""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from backroom.model.job import INTERNAL_QUEUE
from backroom.model.states import FINISHED, State
from backroom.store.positions import ANYWHERE, Bounds, fingerprint

__all__ = ["SORTS", "JobQuery", "fields_for", "matches", "moved_since", "needed_states"]

#: The orders of a list; finishedAt, runAt and priority need a ``state`` filter that they fit.
SORTS: Final = ("-createdAt", "createdAt", "-finishedAt", "finishedAt", "-runAt", "runAt", "-priority", "priority")
_FITTING: Final[dict[str, AbstractSet[State]]] = {
    "finishedAt": FINISHED,
    "runAt": {State.DELAYED},
    "priority": {State.WAITING},
}
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
#: When a job came to where it is, in ms since 1970.
_TIMES: Final = ("ready", "started", "finished", "moved")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """What to list: OR inside a field, AND over the fields; empty fields mean any."""

    queues: Sequence[str] = ()
    states: Sequence[State] = ()
    names: Sequence[str] = ()
    tags: Sequence[str] = ()
    user_ids: Sequence[str] = ()
    #: The id of a job; else words of which each is in the error, the name or a tag (case does not matter).
    q: str | None = None
    #: Bounds on the time of creation: from inclusive, to exclusive.
    from_: datetime | None = None
    to: datetime | None = None
    sort: str = "-createdAt"
    #: Jobs on the page.
    limit: int = 50
    #: Where the page before ended.
    cursor: str | None = None

    @property
    def descending(self) -> bool:
        """Whether the order is turned round."""
        return self.sort.startswith("-")

    @property
    def by_creation(self) -> bool:
        """Whether the order is that of creation, in which a job never moves; else it is that of its state."""
        return self.sort.removeprefix("-") == "createdAt"

    @property
    def list_name(self) -> str:
        """Tells its list from those of other filters and orders: a cursor is a place in one of them."""
        values = (self.queues, self.states, self.names, self.tags, self.user_ids)
        bounds = [None if bound is None else bound.astimezone(UTC).isoformat() for bound in (self.from_, self.to)]
        return f"jobs {self.sort} {fingerprint([*map(frozenset, values), self.q, *bounds])}"

    @property
    def created(self) -> Bounds:
        """The bounds on the time of creation in µs since 1970."""
        low, high = ANYWHERE
        if self.from_:
            low = (self.from_ - _EPOCH) // timedelta(microseconds=1)
        if self.to:
            high = (self.to - _EPOCH) // timedelta(microseconds=1) - 1
        return Bounds(low, high)


def needed_states(query: JobQuery) -> str | None:
    """What the state filter lacks for the order, in words; None: they fit."""
    fitting = _FITTING.get(query.sort.removeprefix("-"))
    if not fitting or (query.states and set(query.states) <= fitting):
        return None
    return " or ".join(sorted(fitting))


def fields_for(query: JobQuery) -> tuple[str, ...]:
    """The fields of a job's record that the functions below look at; errors are long, and only read for words."""
    return ("state", "queue", "name", "created", "user", "tags", *_TIMES, *(("error",) if query.q else ()))


def matches(query: JobQuery, job_id: str, record: Mapping[str, str | None]) -> bool:
    """Whether every filter lets the job pass."""
    created = _EPOCH + timedelta(milliseconds=int(record["created"] or 0))
    return (
        (record["queue"] in query.queues if query.queues else record["queue"] != INTERNAL_QUEUE)
        and (not query.states or record["state"] in query.states)
        and (not query.names or record["name"] in query.names)
        and (not query.tags or not set(query.tags).isdisjoint(_tags(record)))
        and (not query.user_ids or record["user"] in query.user_ids)
        and (query.from_ is None or created >= query.from_)
        and (query.to is None or created < query.to)
        and (query.q is None or _found(query.q, job_id, record))
    )


def moved_since(record: Mapping[str, str | None], moment: int) -> bool:
    """Whether the job has come to its state, or to its place in there, after this time (ms since 1970)."""
    return any(int(record[name] or 0) > moment for name in _TIMES)


def _tags(record: Mapping[str, str | None]) -> list[str]:
    tags: list[str] = json.loads(record["tags"] or "[]")
    return tags


def _found(q: str, job_id: str, record: Mapping[str, str | None]) -> bool:
    if q == job_id:
        return True
    error = json.loads(record["error"]) if record["error"] else {}
    shown = [record["name"], *_tags(record), error.get("type"), error.get("message")]
    text = " ".join(each for each in shown if each).casefold()
    return all(word in text for word in q.casefold().split())
