"""Ends of Celery tasks that the tasks depending on them have yet to hear of."""

from collections.abc import Sequence

from backroom.store.connection import store_errors
from backroom.store.part import Part

__all__ = ["Consequences"]

TAKEN_AT_ONCE = 20
LEASE_MS = 60_000


class Consequences(Part):
    """Tasks that were cancelled, expired or lost: chords, chains and errbacks wait for a word about them."""

    def take(self) -> list[str]:
        """Some ids, for this caller alone for a minute; whoever has dealt with them says `done`."""
        ids: list[str] = self._run("consequences", TAKEN_AT_ONCE, LEASE_MS)
        return ids

    def done(self, job_ids: Sequence[str]) -> None:
        """These need not be told again."""
        with store_errors():
            self._redis.zrem(self._keys.single("consequences"), *job_ids)
