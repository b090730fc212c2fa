"""Pages of jobs: exact under concurrent writes, because a cursor is a place in an order and not a count."""

import base64
import heapq
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

from backroom.model.errors import InvalidInput
from backroom.model.job import INTERNAL_QUEUE, Job
from backroom.model.states import State
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.records import job_from_record
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
_CHUNK = 200
#: Up to this many jobs of the wanted states are sorted in memory instead of walking the index of all jobs.
_SORTED_IN_MEMORY = 5000


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


class _Position(NamedTuple):
    score: float
    id: str


#: ``(low, high, offset) -> positions`` between two scores, both inclusive, at most `_CHUNK`, in the order of the walk.
_Reader = Callable[[float, float, int], list[_Position]]


def _stream(
    read: _Reader, bounds: tuple[float, float], after: _Position | None, *, descending: bool
) -> Iterator[_Position]:
    """All positions between ``bounds`` that lie behind ``after``, in order."""
    low, high = bounds
    while True:
        if after and descending:
            high = min(high, after.score)
        elif after:
            low = max(low, after.score)
        offset, last = 0, after
        while True:
            chunk = read(low, high, offset)
            offset += len(chunk)
            for position in chunk:
                if after is None or (position < after if descending else position > after):
                    last = position
                    yield position
            if len(chunk) < _CHUNK:
                return
            if last != after:  # move the bound along, so that offsets stay small and nothing shifts under them
                after = last
                break


class Listing(Part):
    """Pages of jobs."""

    def page(self, query: JobQuery) -> Page:
        """A page of jobs. Raises `InvalidInput` for a sort that does not fit and for a cursor that is none of ours."""
        if query.sort not in SORTS:
            raise InvalidInput.at("/sort", "invalid-sort", f"must be one of {', '.join(SORTS)}")
        by = query.sort.removeprefix("-")
        fitting = _FITTING.get(by)
        if fitting and not (query.states and fitting.issuperset(query.states)):
            needed = " or ".join(sorted(fitting))
            raise InvalidInput.at("/sort", "invalid-sort", f"{query.sort} needs a state filter of {needed}")
        after = _decode_cursor(query)
        with store_errors():
            return self._fill(query, self._walk(query, by, after))

    def _walk(self, query: JobQuery, by: str, after: _Position | None) -> Iterator[_Position]:
        """The candidates behind ``after``, in order, from the most telling index."""
        queues = list(query.queues) or [
            name for name in self._redis.zrange(self._keys.single("queues"), 0, -1) if name != INTERNAL_QUEUE
        ]
        states = list(dict.fromkeys(query.states))
        descending = query.sort.startswith("-")
        if by != "createdAt":
            keys = [self._keys.state(queue, state) for queue in queues for state in states]
            return self._merge(keys, (float("-inf"), float("inf")), after, descending=descending)
        low = _micros(query.from_) if query.from_ else float("-inf")
        high = _micros(query.to) - 1 if query.to else float("inf")
        if states and (few := self._sorted(queues, states, descending=descending)) is not None:
            return (
                position
                for position in few
                if low <= position.score <= high
                and (after is None or (position < after if descending else position > after))
            )
        for kind, values in (("user", query.user_ids), ("tag", query.tags), ("name", query.names), ("queue", queues)):
            if values:
                keys = [self._keys.index(kind, value) for value in dict.fromkeys(values)]
                return self._merge(keys, (low, high), after, descending=descending)
        return iter(())

    def _merge(
        self, keys: Iterable[str], bounds: tuple[float, float], after: _Position | None, *, descending: bool
    ) -> Iterator[_Position]:
        streams = [
            _stream(self._reader(key, descending=descending), bounds, after, descending=descending) for key in keys
        ]
        previous = None
        for position in heapq.merge(*streams, reverse=descending):
            if position != previous:  # a job with two of the wanted tags is in two of the sets
                yield position
            previous = position

    def _reader(self, key: str, *, descending: bool) -> _Reader:
        def read(low: float, high: float, offset: int) -> list[_Position]:
            first, last = (high, low) if descending else (low, high)
            rows = self._redis.execute_command(
                "ZRANGE", key, _bound(first), _bound(last), "BYSCORE", *(["REV"] if descending else []),
                "LIMIT", offset, _CHUNK, "WITHSCORES",
            )  # fmt: skip
            return [_Position(float(score), member) for member, score in _pairs(rows)]

        return read

    def _sorted(self, queues: Sequence[str], states: Sequence[State], *, descending: bool) -> list[_Position] | None:
        """All jobs of these states by creation, or None when they are too many to sort in memory."""
        places = [(queue, self._keys.state(queue, state)) for queue in queues for state in states]
        pipeline = self._redis.pipeline(transaction=False)
        for _, key in places:
            pipeline.zcard(key)
        if sum(pipeline.execute()) > _SORTED_IN_MEMORY:
            return None
        pipeline = self._redis.pipeline(transaction=False)
        for _, key in places:
            pipeline.zrange(key, 0, _SORTED_IN_MEMORY)
        found = []
        for (queue, _), ids in zip(places, pipeline.execute(), strict=True):
            if ids:
                scores = self._redis.zmscore(self._keys.index("queue", queue), ids)
                found += [
                    _Position(float(score), id_) for score, id_ in zip(scores, ids, strict=True) if score is not None
                ]
        return sorted(found, reverse=descending)

    def _fill(self, query: JobQuery, walk: Iterator[_Position]) -> Page:
        """Load candidates and keep those that match, until the page is full or enough were looked at."""
        kept: list[tuple[_Position, Job]] = []
        looked_at, last = 0, None
        while len(kept) <= query.limit and looked_at < _LOOKED_AT:
            chunk = list(islice(walk, min(_CHUNK, query.limit + 1)))
            if not chunk:
                last = None
                break
            looked_at, last = looked_at + len(chunk), chunk[-1]
            kept += [(position, job) for position, job in self._load(chunk) if _matches(query, job)]
        if len(kept) > query.limit:
            return Page([job for _, job in kept[: query.limit]], _encode_cursor(query, kept[query.limit - 1][0]))
        return Page([job for _, job in kept], _encode_cursor(query, last) if last else None)

    def _load(self, positions: Sequence[_Position]) -> list[tuple[_Position, Job]]:
        pipeline = self._redis.pipeline(transaction=False)
        for position in positions:
            pipeline.hgetall(self._keys.job(position.id))
        found = [(position, record) for position, record in zip(positions, pipeline.execute(), strict=True) if record]
        waiting = [record["queue"] for _, record in found if record["state"] == State.WAITING]
        situations = read_situations(self._redis, self._keys, waiting) if waiting else {}
        return [(p, job_from_record(p.id, record, situations.get(record["queue"]))) for p, record in found]


def _matches(query: JobQuery, job: Job) -> bool:
    """Every filter, whatever index the candidate came from."""
    created = job.created_at
    user_id = job.data.get("userId") if isinstance(job.data, dict) else None
    return (
        (not query.queues or job.queue in query.queues)
        and (bool(query.queues) or job.queue != INTERNAL_QUEUE)
        and (not query.states or job.state in query.states)
        and (not query.names or job.name in query.names)
        and (not query.tags or any(tag in job.tags for tag in query.tags))
        and (not query.user_ids or user_id in query.user_ids)
        and (query.from_ is None or created >= query.from_)
        and (query.to is None or created < query.to)
        and (query.q is None or _found(query.q, job))
    )


def _found(q: str, job: Job) -> bool:
    if q == job.id:
        return True
    error = f"{job.error['type']} {job.error['message']}" if job.error else ""
    text = " ".join([job.name, *job.tags, error]).casefold()
    return all(word in text for word in q.casefold().split())


def _micros(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _pairs(rows: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(rows[::2], rows[1::2], strict=True)


def _bound(score: float) -> str:
    return {float("inf"): "+inf", float("-inf"): "-inf"}.get(score) or repr(score)


def _encode_cursor(query: JobQuery, position: _Position) -> str:
    text = json.dumps([query.sort, position.score, position.id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode_cursor(query: JobQuery) -> _Position | None:
    if query.cursor is None:
        return None
    try:
        padded = query.cursor + "=" * (-len(query.cursor) % 4)
        sort, score, job_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if sort == query.sort and isinstance(score, float) and math.isfinite(score) and isinstance(job_id, str):
            return _Position(score, job_id)
    except (ValueError, TypeError, RecursionError):
        pass
    raise InvalidInput.at(
        "/cursor", "invalid-cursor", f"is not a cursor of a list with sort={query.sort}; start without one"
    )
