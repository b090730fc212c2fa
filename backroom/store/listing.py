"""Pages of jobs: exact under concurrent writes, because a cursor is a place in an order and not a count."""

from collections.abc import Sequence
from dataclasses import dataclass

from backroom.model.errors import InvalidInput
from backroom.model.job import Job
from backroom.model.states import State
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.positions import Cursor, Position, decode_cursor, encode_cursor
from backroom.store.query import SORTS, JobQuery, needed_states
from backroom.store.records import job_from_record
from backroom.store.search import MOST_EFFORT, Search
from backroom.store.situations import read_situations

__all__ = ["Listing", "Page"]


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs in order, and where to go on."""

    jobs: list[Job]
    #: The cursor of the next page; None when there is none.
    next: str | None


class Listing(Part):
    """Pages of jobs."""

    def page(self, query: JobQuery) -> Page:
        """A page of jobs. Raises `InvalidInput` for a sort that does not fit and for a cursor of another list.

        A page may hold fewer jobs than its limit, or none, and still have a next one: it looks at a bounded number of
        jobs.
        """
        if query.sort not in SORTS:
            raise InvalidInput.at("/sort", "invalid-sort", f"must be one of {', '.join(SORTS)}")
        if needed := needed_states(query):
            raise InvalidInput.at("/sort", "invalid-sort", f"{query.sort} needs a state filter of {needed}")
        cursor = None if query.cursor is None else decode_cursor(query.list_name, query.cursor)
        with store_errors():
            # In the order of creation no job moves, and it does not matter when the list was begun.
            after, begun = cursor or (None, 0 if query.by_creation else self._now_ms())
            search = Search(self._redis, self._keys, query, begun=begun)
            kept, last = _fill(search, after, query.limit)
            following = None if last is None else encode_cursor(query.list_name, Cursor(last, begun))
            return Page(self._load(query, kept), following)

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


def _fill(search: Search, after: Position | None, limit: int) -> tuple[list[Position], Position | None]:
    """What a page holds, and behind what the next one begins; None: there is none."""
    kept: list[Position] = []
    effort = 0
    for found in search.steps(after):
        kept += found.matching
        effort += found.effort
        if len(kept) > limit:
            return kept[:limit], kept[limit - 1]
        if effort >= MOST_EFFORT:
            return kept, found.last
    return kept, None
