"""Finding jobs in the indexes, in an order, without ever looking at all of them.

Each filter names sorted sets, and a job must be in one of them. Those of queues, names, tags and users are scored by
the time of creation, those of states by an order of their own. There are two ways to the jobs of a query in its order:

- **walk** along the smallest sets that have this order, leaving out what is not in the sets of the other filters: quick
  where much of what is passed by fits;
- **gather** all members of the smallest sets, whatever their order, and sort them: quick where they are few.

Nobody knows beforehand how much will fit. So a search walks until that has cost as much as gathering would, and gathers
then: it never costs more than twice the better of the two.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from backroom.model.job import INTERNAL_QUEUE
from backroom.model.names import is_name
from backroom.store.keys import Keys
from backroom.store.positions import ANYWHERE, Position, Walk
from backroom.store.query import JobQuery, fields_for, matches, moved_since

__all__ = ["MOST_EFFORT", "Found", "Search"]

_T = TypeVar("_T")

#: Positions that are read, and members that are looked up, in one command.
CHUNK: Final = 1000
#: Effort is counted in look-ups in a set, of about 2 µs; looking at a job's record costs so many (see
#: `benchmarks.listing`). A filter of more sets than that is left to the look at the record.
RECORD: Final = 20
#: What gathering may cost; above it only walking is left. Also what a page may cost.
MOST_EFFORT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Group:
    """The sets of one filter."""

    keys: tuple[str, ...]
    #: Whether they are those of states.
    of_states: bool
    #: Members of all of them; of those scored by creation, within the query's bounds.
    size: int


class Found(NamedTuple):
    """A step of a search."""

    #: The jobs that match, in order.
    matching: list[Position]
    #: Where the step has ended: a search that begins behind this goes on there.
    last: Position
    effort: int


class Search:
    """The jobs of one query. ``redis`` is Any: see `backroom.store.part.Part`.

    ``begun`` (ms since 1970) is when the list was begun. Jobs change their places in the order of a state: those that
    have moved since may have been listed before, and are left out. With ``loose`` the records are not looked at where
    the sets say enough, but for jobs that move this moment.
    """

    def __init__(self, redis: Any, keys: Keys, query: JobQuery, *, begun: int = 0, loose: bool = False) -> None:
        self._redis, self._keys, self._query = redis, keys, query
        self._begun = begun
        self._fields = fields_for(query)
        queues = _each_once(query.queues) or [
            name for name in redis.zrange(keys.single("queues"), 0, -1) if name != INTERNAL_QUEUE
        ]
        #: The set of a state -> that of its queue, which knows the times of creation.
        self._creation = {
            keys.state(queue, state): keys.index("queue", queue)
            for queue in queues
            for state in _each_once(query.states)
        }
        wanted = {
            "queue": [keys.index("queue", queue) for queue in queues],
            "name": [keys.index("name", name) for name in _each_once(query.names)],
            "tag": [keys.index("tag", tag) for tag in _each_once(query.tags)],
            "user": [keys.index("user", user) for user in _each_once(query.user_ids)],
            "state": list(self._creation),
        }
        groups = self._sized({kind: names for kind, names in wanted.items() if names or kind == "queue"})
        self._few = min(groups.values(), key=lambda group: group.size)
        ordered = [group for group in groups.values() if group.of_states != query.by_creation]
        self._along = min(ordered, key=lambda group: group.size)
        if not query.queues and not loose:
            del groups["queue"]  # every job is in one: there is nothing to look up, but that it is not the internal one
        self._filters = list(groups.values())
        few_sets = all(len(group.keys) <= RECORD for group in self._filters)
        self._needs_records = not (loose and few_sets and query.by_creation and query.q is None)

    def _sized(self, wanted: dict[str, list[str]]) -> dict[str, Group]:
        pipeline = self._redis.pipeline(transaction=False)
        low, high = self._query.created
        for kind, names in wanted.items():
            for name in names:
                pipeline.zcard(name) if kind == "state" else pipeline.zcount(name, low, high)
        sizes = iter(pipeline.execute())
        return {
            kind: Group(tuple(names), kind == "state", sum(islice(sizes, len(names)))) for kind, names in wanted.items()
        }

    def steps(self, after: Position | None) -> Iterator[Found]:
        """What matches behind ``after``, step by step; ends when there is no more."""
        if (named := self._named()) is not None:
            yield from self._steps(_behind(named, after, descending=self._query.descending), ())
            return
        gathering = self._few.size * (1 if self._query.by_creation else RECORD)
        patience = gathering if self._few is not self._along and gathering <= MOST_EFFORT else None
        spent = 0
        if patience is None or patience > CHUNK:
            others = [group for group in self._filters if group is not self._along]
            for found in self._steps(self._walk(self._along, after), others):
                yield found
                after, spent = found.last, spent + found.effort
                if patience is not None and spent >= patience:
                    break
            else:
                return
        yield from self._steps(_behind(self._gathered(), after, descending=self._query.descending), ())

    def _steps(self, positions: Iterable[Position], filters: Sequence[Group]) -> Iterator[Found]:
        """Look at positions, at ever more at once; first whether they are in the sets of these filters."""
        candidates, size = iter(positions), self._query.limit + 1
        while chunk := list(islice(candidates, size)):
            size = min(CHUNK, 2 * size)
            left, effort = self._in_all(chunk, filters)
            if self._needs_records:
                effort += RECORD * len(left)
                left = self._matching(left)
            yield Found(left, chunk[-1], effort)

    def _in_all(self, positions: list[Position], filters: Sequence[Group]) -> tuple[list[Position], int]:
        """Those that are in the sets of all these filters, and the effort of looking them up."""
        effort = len(positions)
        for group in filters:
            if positions and len(group.keys) <= RECORD:
                effort += len(positions) * len(group.keys)
                members = {position.id for position in self._scored([each.id for each in positions], group.keys)}
                positions = [position for position in positions if position.id in members]
        return positions, effort

    def _matching(self, candidates: Sequence[Position]) -> list[Position]:
        """The candidates whose records say that they match."""
        pipeline = self._redis.pipeline(transaction=False)
        for candidate in candidates:
            pipeline.hmget(self._keys.job(candidate.id), self._fields)
        matching = []
        for candidate, values in zip(candidates, pipeline.execute(), strict=True):
            record = dict(zip(self._fields, values, strict=True))
            if not record["state"] or not matches(self._query, candidate.id, record):
                continue
            if self._query.by_creation or not moved_since(record, self._begun):
                matching.append(candidate)
        return matching

    def _walk(self, group: Group, after: Position | None) -> Walk:
        bounds = ANYWHERE if group.of_states else self._query.created
        return Walk(self._redis, group.keys, bounds, after, self._query.descending, self._query.limit + 1)

    def _gathered(self) -> list[Position]:
        """The members of the smallest sets that are in those of all other filters too, in the order of the query."""
        low, high = self._query.created
        others = [group for group in self._filters if group is not self._few]
        found: set[Position] = set()
        for key in self._few.keys:
            bounds = ANYWHERE if self._few.of_states else self._query.created
            walk = iter(Walk(self._redis, [key], bounds, None, descending=False, first=CHUNK))
            while chunk := list(islice(walk, CHUNK)):
                ids = [position.id for position in self._in_all(chunk, others)[0]]
                if not ids:
                    continue
                if self._query.by_creation:  # then they are the sets of states: others have this order already
                    found.update(each for each in self._scored(ids, [self._creation[key]]) if low <= each.score <= high)
                else:
                    found.update(self._placed(ids))
        return sorted(found, reverse=self._query.descending)

    def _named(self) -> list[Position] | None:
        """The one job whose id is searched for; None: it is no id, so that it is words."""
        job_id = self._query.q or ""
        queue = self._redis.hget(self._keys.job(job_id), "queue") if is_name(job_id) else None
        if queue is None:
            return None
        if self._query.by_creation:
            return self._scored([job_id], [self._keys.index("queue", queue)])
        return self._placed([job_id])

    def _placed(self, ids: Sequence[str]) -> list[Position]:
        """The jobs by their places in the sets of the wanted states; those in none of them are left out."""
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hmget(self._keys.job(job_id), "queue", "state")
        by_set: dict[str, list[str]] = {}
        for job_id, (queue, state) in zip(ids, pipeline.execute(), strict=True):
            by_set.setdefault(self._keys.state(queue, state), []).append(job_id)
        return [
            each for key, members in by_set.items() if key in self._creation for each in self._scored(members, [key])
        ]

    def _scored(self, ids: Sequence[str], keys: Sequence[str]) -> list[Position]:
        """The ids that are in one of the sets, with their scores."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.zmscore(key, ids)
        return [
            Position(float(score), job_id)
            for scores in pipeline.execute()
            for job_id, score in zip(ids, scores, strict=True)
            if score is not None
        ]


def _each_once(values: Sequence[_T]) -> list[_T]:
    return list(dict.fromkeys(values))


def _behind(positions: Sequence[Position], after: Position | None, *, descending: bool) -> list[Position]:
    return [each for each in positions if after is None or (each < after if descending else each > after)]
