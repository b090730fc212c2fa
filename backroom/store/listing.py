"""Pages of jobs: exact under concurrent writes, because a cursor is a place in an order and not a count."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from backroom.model.errors import InvalidInput
from backroom.model.job import INTERNAL_QUEUE, Job
from backroom.model.states import State
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.positions import ANYWHERE, CHUNK, Bounds, Position, Walk, decode_cursor, encode_cursor
from backroom.store.records import from_ms, job_from_record
from backroom.store.situations import read_situations

__all__ = ["SORTS", "JobQuery", "Listing", "Page"]

#: The orders of a page; finishedAt, runAt and priority need a ``state`` filter that they fit.
SORTS = ("-createdAt", "createdAt", "-finishedAt", "finishedAt", "-runAt", "runAt", "-priority", "priority")
_FITTING = {
    "finishedAt": {State.COMPLETED, State.FAILED, State.CANCELLED, State.EXPIRED},
    "runAt": {State.DELAYED},
    "priority": {State.WAITING},
}
#: A page looks at no more candidates than this; then it ends early, with a cursor to go on.
_LOOKED_AT = 10_000
#: Up to this many jobs of the wanted states are sorted in memory instead of walking the index of all jobs.
_SORTED_IN_MEMORY = 5000
#: The fields of a job that filters look at: small ones, so that looking at many candidates is cheap.
_FILTERED = ("state", "queue", "name", "created", "user", "tags", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """What to list: OR inside a field, AND over the fields; empty fields mean any."""

    queues: Sequence[str] = ()
    states: Sequence[State] = ()
    names: Sequence[str] = ()
    tags: Sequence[str] = ()
    user_ids: Sequence[str] = ()
    #: An id, or words of which each is in the error, the name or a tag (case does not matter).
    q: str | None = None
    #: Bounds on the time of creation: from inclusive, to exclusive.
    from_: datetime | None = None
    to: datetime | None = None
    sort: str = "-createdAt"
    #: Jobs on the page.
    limit: int = 50
    #: Where the page before ended.
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs in order, and where to go on."""

    jobs: list[Job]
    #: The cursor of the next page; None when there is none.
    next: str | None


class Listing(Part):
    """Pages of jobs."""

    def page(self, query: JobQuery) -> Page:
        """A page of jobs. Raises `InvalidInput` for a sort that does not fit and for a cursor that is none of ours.

        A page may hold fewer jobs than its limit, or none, and still have a next one: it looks at a bounded number of
        candidates.
        """
        if query.sort not in SORTS:
            raise InvalidInput.at("/sort", "invalid-sort", f"must be one of {', '.join(SORTS)}")
        by = query.sort.removeprefix("-")
        fitting = _FITTING.get(by)
        if fitting and not (query.states and fitting.issuperset(query.states)):
            needed = " or ".join(sorted(fitting))
            raise InvalidInput.at("/sort", "invalid-sort", f"{query.sort} needs a state filter of {needed}")
        after = None if query.cursor is None else decode_cursor(query.sort, query.cursor)
        with store_errors():
            return self._fill(query, iter(self._candidates(query, by, after)))

    def _candidates(self, query: JobQuery, by: str, after: Position | None) -> Iterable[Position]:
        """The candidates behind ``after``, in order, from the most telling index."""
        descending = query.sort.startswith("-")
        queues = list(dict.fromkeys(query.queues)) or [
            name for name in self._redis.zrange(self._keys.single("queues"), 0, -1) if name != INTERNAL_QUEUE
        ]
        states = list(dict.fromkeys(query.states))
        in_states = [self._keys.state(queue, state) for queue in queues for state in states]
        if by != "createdAt":
            return Walk(self._redis, in_states, ANYWHERE, after, descending)
        if states and (few := self._sorted(queues, states, descending=descending)) is not None:
            return few if after is None else (each for each in few if (each < after if descending else each > after))
        kinds = (("user", query.user_ids), ("tag", query.tags), ("name", query.names), ("queue", queues))
        kind, values = next(((kind, values) for kind, values in kinds if values), ("queue", []))
        indexes = [self._keys.index(kind, value) for value in dict.fromkeys(values)]
        return Walk(self._redis, indexes, _created_between(query), after, descending)

    def _sorted(self, queues: Sequence[str], states: Sequence[State], *, descending: bool) -> list[Position] | None:
        """All jobs of these states by creation, or None when they are too many to sort in memory."""
        places = [(queue, self._keys.state(queue, state)) for queue in queues for state in states]
        pipeline = self._redis.pipeline(transaction=False)
        for _, key in places:
            pipeline.zcard(key)
        if sum(pipeline.execute()) > _SORTED_IN_MEMORY:
            return None
        for _, key in places:
            pipeline.zrange(key, 0, _SORTED_IN_MEMORY)
        held = [(queue, ids) for (queue, _), ids in zip(places, pipeline.execute(), strict=True) if ids]
        for queue, ids in held:
            pipeline.zmscore(self._keys.index("queue", queue), ids)
        found = {
            Position(float(score), job_id)
            for (_, ids), scores in zip(held, pipeline.execute(), strict=True)
            for score, job_id in zip(scores, ids, strict=True)
            if score is not None
        }
        return sorted(found, reverse=descending)

    def _fill(self, query: JobQuery, candidates: Iterator[Position]) -> Page:
        """Look at candidates and keep those that match, until the page is full or enough were looked at."""
        kept: list[Position] = []
        looked_at, size, last = 0, min(CHUNK, query.limit + 1), None
        while len(kept) <= query.limit and looked_at < _LOOKED_AT:
            chunk = list(islice(candidates, size))
            if not chunk:
                last = None
                break
            looked_at, size, last = looked_at + len(chunk), CHUNK, chunk[-1]
            kept += self._matching(query, chunk)
        if len(kept) > query.limit:
            last = kept[query.limit - 1]
        return Page(self._load(query, kept[: query.limit]), encode_cursor(query.sort, last) if last else None)

    def _matching(self, query: JobQuery, candidates: Sequence[Position]) -> list[Position]:
        pipeline = self._redis.pipeline(transaction=False)
        for candidate in candidates:
            pipeline.hmget(self._keys.job(candidate.id), _FILTERED)
        rows = [dict(zip(_FILTERED, values, strict=True)) for values in pipeline.execute()]
        return [
            candidate
            for candidate, row in zip(candidates, rows, strict=True)
            if row["state"] and _matches(query, candidate.id, row)
        ]

    def _load(self, query: JobQuery, positions: Sequence[Position]) -> list[Job]:
        """The jobs, but for those that were removed or have left the wanted states this moment."""
        pipeline = self._redis.pipeline(transaction=False)
        for position in positions:
            pipeline.hgetall(self._keys.job(position.id))
        found = [
            (position.id, record)
            for position, record in zip(positions, pipeline.execute(), strict=True)
            if record and (not query.states or record["state"] in query.states)
        ]
        waiting = [record["queue"] for _, record in found if record["state"] == State.WAITING]
        situations = read_situations(self._redis, self._keys, waiting) if waiting else {}
        return [job_from_record(job_id, record, situations.get(record["queue"])) for job_id, record in found]


def _created_between(query: JobQuery) -> Bounds:
    """The bounds on the time of creation as scores of the indexes: µs since 1970."""
    low, high = ANYWHERE
    if query.from_:
        low = _micros(query.from_)
    if query.to:
        high = _micros(query.to) - 1
    return Bounds(low, high)


def _micros(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _matches(query: JobQuery, job_id: str, row: Mapping[str, str | None]) -> bool:
    """Every filter, whatever index the candidate came from."""
    created = from_ms(row["created"])
    return (
        (row["queue"] in query.queues if query.queues else row["queue"] != INTERNAL_QUEUE)
        and (not query.states or row["state"] in query.states)
        and (not query.names or row["name"] in query.names)
        and (not query.tags or not set(query.tags).isdisjoint(_tags(row)))
        and (not query.user_ids or row["user"] in query.user_ids)
        and (query.from_ is None or (created is not None and created >= query.from_))
        and (query.to is None or (created is not None and created < query.to))
        and (query.q is None or _found(query.q, job_id, row))
    )


def _tags(row: Mapping[str, str | None]) -> list[str]:
    tags: list[str] = json.loads(row["tags"] or "[]")
    return tags


def _found(q: str, job_id: str, row: Mapping[str, str | None]) -> bool:
    if q == job_id:
        return True
    error = json.loads(row["error"]) if row["error"] else {}
    shown = [row["name"], *_tags(row), error.get("type"), error.get("message")]
    text = " ".join(each for each in shown if each).casefold()
    return all(word in text for word in q.casefold().split())
