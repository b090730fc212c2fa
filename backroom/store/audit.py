"""The audit log: who did what, and what was refused, in two capped streams.

Submissions and refusals can come by the thousand, and would push out everything else: they are in a book of their own.
"""

import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

from backroom.model.job import format_time
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.positions import not_of_this_list, opaque, transparent
from backroom.store.records import from_ms
from backroom.store.scripts import pack

__all__ = ["MAX_NOTED_AT_ONCE", "STACK", "Audit", "AuditEntry", "AuditPage", "Book", "audit_words"]

#: ``acts``: what was done, but for submissions. ``rest``: submissions, and what was refused.
Book = Literal["acts", "rest"]

#: Who acts where nobody asked for it: no key can have this name.
STACK: Final = "(stack)"
#: Bounds the time that one call holds Redis.
MAX_NOTED_AT_ONCE: Final = 500
#: A page looks at no more than so many entries; then it ends early, with a cursor to go on.
_LOOKED_AT: Final = 10_000
_CHUNK: Final = 500


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody did, or was refused."""

    #: ms since 1970, by the clock of the API.
    at: int
    #: The name of the key; ``open`` where there are none; `STACK`: nobody asked for it; None: no key, or a wrong one.
    actor: str | None
    #: The operation, such as ``pause_queue``.
    action: str
    #: The address of what was acted on.
    target: str
    #: The status of the answer.
    status: int
    request_id: str
    address: str

    @property
    def outcome(self) -> Literal["done", "refused"]:
        """Whether it was done."""
        return "done" if self.status < 400 else "refused"  # noqa: PLR2004 - the first status of an error

    def to_dict(self) -> dict[str, Any]:
        """The entry in JSON's words."""
        return {
            "at": format_time(from_ms(self.at)),
            "actor": self.actor,
            "action": self.action,
            "target": self.target,
            "outcome": self.outcome,
            "status": self.status,
            "requestId": self.request_id,
            "address": self.address,
        }


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, newest first, and where to go on."""

    entries: list[AuditEntry]
    #: The cursor of the next page; None: there is none.
    next: str | None


class _Place(NamedTuple):
    """Where an entry is, in the order in which entries were written."""

    ms: int
    sequence: int
    book: Book


class Audit(Part):
    """Streams ``audit:acts`` and ``audit:rest``."""

    def note(self, entries: Sequence[tuple[Book, AuditEntry]], *, keep: int) -> None:
        """Write down at most `MAX_NOTED_AT_ONCE` entries; each book keeps about ``keep``."""
        if len(entries) > MAX_NOTED_AT_ONCE:
            raise ValueError(f"note takes {MAX_NOTED_AT_ONCE} entries at once, not {len(entries)}")
        self._run("audit", pack([[book, *audit_words(entry)] for book, entry in entries]), keep)

    def page(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        wanted: Callable[[AuditEntry], bool] = lambda _: True,
        of: str = "",
    ) -> AuditPage:
        """At most ``limit`` of the entries that are ``wanted``, newest first; fewer where many are not.

        Exact while others are written. ``of`` tells lists of other wishes apart: raises `InvalidInput` for a cursor of
        another one.
        """
        after = None if cursor is None else _decode(cursor, of)
        found: list[tuple[_Place, AuditEntry]] = []
        looked_at, last = 0, after
        with store_errors():
            for place, entry in heapq.merge(
                self._stream("acts", after), self._stream("rest", after), key=lambda each: each[0], reverse=True
            ):
                if len(found) > limit or looked_at == _LOOKED_AT:
                    break
                looked_at, last = looked_at + 1, place
                if wanted(entry):
                    found.append((place, entry))
            else:
                if len(found) <= limit:
                    return AuditPage([entry for _, entry in found], None)
        assert last is not None
        place = found[limit - 1][0] if len(found) > limit else last
        return AuditPage([entry for _, entry in found[:limit]], opaque([*place, of]))

    def _stream(self, book: Book, after: _Place | None) -> Iterator[tuple[_Place, AuditEntry]]:
        """The entries of a book, newest first, read in chunks when they are needed."""
        key = self._keys.single(f"audit:{book}")
        end = "+" if after is None else f"{after.ms}-{after.sequence}"
        while True:
            rows = self._redis.xrevrange(key, end, "-", _CHUNK)
            for row_id, fields in rows:
                ms, _, sequence = row_id.partition("-")
                place = _Place(int(ms), int(sequence), book)
                if after is None or place < after:
                    yield place, _entry(fields)
            if len(rows) < _CHUNK:
                return
            end = f"({rows[-1][0]}"


def audit_words(entry: AuditEntry) -> tuple[str, ...]:
    """An entry as it is kept, field, value...: always the same in the same order, so the stream keeps names once.

    The last word is the target.
    """
    # fmt: off
    return (
        "at", str(entry.at), "actor", _actor_text(entry.actor), "action", entry.action, "status", str(entry.status),
        "request", entry.request_id, "address", entry.address, "target", entry.target,
    )
    # fmt: on


@lru_cache(maxsize=1024)
def _actor_text(actor: str | None) -> str:
    return json.dumps(actor)


def _entry(fields: dict[str, str]) -> AuditEntry:
    return AuditEntry(
        at=int(fields["at"]),
        actor=json.loads(fields["actor"]),
        action=fields["action"],
        target=fields["target"],
        status=int(fields["status"]),
        request_id=fields["request"],
        address=fields["address"],
    )


def _decode(cursor: str, of: str) -> _Place:
    try:
        ms, sequence, book, of_list = transparent(cursor)
        if of_list == of and type(ms) is int and type(sequence) is int and 0 <= ms < 2**63 and 0 <= sequence < 2**63:
            if book == "acts":
                return _Place(ms, sequence, "acts")
            if book == "rest":
                return _Place(ms, sequence, "rest")
    except (ValueError, TypeError):
        pass
    raise not_of_this_list()
