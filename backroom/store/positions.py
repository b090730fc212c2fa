"""Walking along sorted sets: places in an order, which stay what they are while members come and go."""

import base64
import hashlib
import heapq
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from backroom.model.errors import InvalidInput

__all__ = [
    "ANYWHERE",
    "Bounds",
    "Cursor",
    "Position",
    "Walk",
    "decode_cursor",
    "encode_cursor",
    "fingerprint",
    "not_of_this_list",
    "opaque",
    "transparent",
]

#: Positions that are read of a set at once: as few when sets are many, and in the end as many.
LEAST_AT_ONCE, MOST_AT_ONCE = 16, 1000


class Position(NamedTuple):
    """A place in the order of a list: first by score, then by id, as Redis orders."""

    score: float
    id: str


class Bounds(NamedTuple):
    """Scores from ``low`` to ``high``, both inclusive."""

    low: float
    high: float


ANYWHERE = Bounds(float("-inf"), float("inf"))


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk along sorted sets as if they were one; each member once, though it be in several."""

    #: Any: see `backroom.store.part.Part`.
    redis: Any
    keys: Sequence[str]
    bounds: Bounds
    #: The walk begins behind this.
    after: Position | None
    descending: bool
    #: About so many are wanted at first.
    first: int

    def __iter__(self) -> Iterator[Position]:
        """The positions, read in chunks when they are needed."""
        bounds = self._behind(self.bounds, self.after)
        pipeline = self.redis.pipeline(transaction=False)
        share = -(-self.first // max(1, len(self.keys)))
        number = min(self.first, max(LEAST_AT_ONCE, 2 * share), MOST_AT_ONCE)
        for key in self.keys:
            self._ask(pipeline, key, bounds, 0, number)
        streams = [
            self._stream(key, bounds, rows, number) for key, rows in zip(self.keys, pipeline.execute(), strict=True)
        ]
        previous = None
        for position in heapq.merge(*streams, reverse=self.descending):
            if position != previous:
                yield position
            previous = position

    def _stream(self, key: str, bounds: Bounds, rows: list[str], number: int) -> Iterator[Position]:
        """The positions of one set; ``rows`` are the first of them, of which so many were asked for."""
        after, offset = self.after, 0
        while True:
            chunk = [Position(float(score), member) for member, score in zip(rows[::2], rows[1::2], strict=True)]
            last = after
            for position in chunk:
                if after is None or (position < after if self.descending else position > after):
                    last = position
                    yield position
            if len(chunk) < number:
                return
            if last == after:  # a whole chunk of equal scores that lie before
                offset += len(chunk)
            else:  # move the bounds along, so that offsets stay small and nothing shifts under them
                after, bounds, offset = last, self._behind(bounds, last), 0
            number = min(MOST_AT_ONCE, 4 * number)
            rows = self._ask(self.redis, key, bounds, offset, number)

    def _behind(self, bounds: Bounds, after: Position | None) -> Bounds:
        if after is None:
            return bounds
        if self.descending:
            return Bounds(bounds.low, min(bounds.high, after.score))
        return Bounds(max(bounds.low, after.score), bounds.high)

    def _ask(self, redis: Any, key: str, bounds: Bounds, offset: int, number: int) -> Any:
        first, last = (bounds.high, bounds.low) if self.descending else bounds
        order = ("REV",) if self.descending else ()
        limit = ("LIMIT", offset, number, "WITHSCORES")
        return redis.execute_command("ZRANGE", key, _text(first), _text(last), "BYSCORE", *order, *limit)


def _text(score: float) -> str:
    return {float("inf"): "+inf", float("-inf"): "-inf"}.get(score) or repr(score)


def opaque(values: Sequence[Any]) -> str:
    """Values of JSON as text that is fit for an address, and that says nothing to people."""
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")


def transparent(text: str) -> Any:
    """What `opaque` was given; anything for any other text, or `ValueError`."""
    try:
        return json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def fingerprint(filters: Sequence[Any]) -> str:
    """A short text that tells lists with other filters apart; for the name of a list in its cursors.

    Values that may stand in any order are best given as sets.
    """
    text = json.dumps(filters, default=sorted, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Cursor(NamedTuple):
    """Where a list goes on."""

    after: Position
    #: When the list was begun, in ms since 1970.
    begun: int


def encode_cursor(of: str, cursor: Cursor) -> str:
    """What a client gives back to go on with this list: ``of`` tells it from lists of others, orders and filters."""
    (score, job_id), begun = cursor
    return opaque([of, score, job_id, begun])


def decode_cursor(of: str, cursor: str) -> Cursor:
    """What `encode_cursor` encoded. Raises `InvalidInput` for anything else and for another list."""
    try:
        of_list, score, job_id, begun = transparent(cursor)
        place = isinstance(score, float) and math.isfinite(score) and isinstance(job_id, str)
        if of_list == of and place and type(begun) is int:
            return Cursor(Position(score, job_id), begun)
    except (ValueError, TypeError):
        pass
    raise not_of_this_list()


def not_of_this_list() -> InvalidInput:
    """The refusal of a cursor."""
    message = "is not a cursor of this list, with these filters in this order; start without one"
    return InvalidInput.at("/cursor", "invalid-cursor", message)
