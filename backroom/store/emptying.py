"""Taking jobs out of queues: drain, clean, obliterate. Each works in steps that hold Redis for a few ms."""

from backroom.model.errors import NotFound, QueueBusy
from backroom.model.states import State
from backroom.store.connection import store_errors
from backroom.store.part import Part

__all__ = ["Emptying"]

#: Bounds on one step.
REMOVED_AT_ONCE = 200
LOOKED_AT_ONCE = 1000


class Emptying(Part):
    """Schedules are left alone by all of these."""

    def drain(self, queue: str, *, delayed: bool = False) -> int:
        """Remove the waiting jobs of a queue, and the ``delayed`` ones. Returns how many.

        Active and finished jobs stay. Jobs that are submitted meanwhile may be spared.
        """
        removed = 0
        for state in [State.WAITING, State.DELAYED] if delayed else [State.WAITING]:
            left = self._count(queue, state)
            while left > 0:
                gone = int(self._run("drain", queue, state, min(left, REMOVED_AT_ONCE), "0"))
                removed += gone
                left = left - gone if gone else 0
        self._run("drain", queue, State.WAITING, 0, "1")
        return removed

    def clean(self, queue: str, *, state: State, grace_ms: int, limit: int) -> list[str]:
        """Remove up to ``limit`` jobs in one state that are older than ``grace_ms``. Returns their ids."""
        if state is State.ACTIVE:
            raise ValueError("active jobs cannot be cleaned")
        removed: list[str] = []
        place = 0
        while place >= 0 and len(removed) < limit:
            most = min(limit - len(removed), REMOVED_AT_ONCE)
            place, ids = self._run("clean", queue, state, grace_ms, most, place, LOOKED_AT_ONCE)
            removed += ids
        return removed

    def obliterate(self, queue: str, *, force: bool = False) -> int:
        """Remove a queue and everything in it. Returns how many jobs.

        Raises `NotFound`, and without ``force`` `QueueBusy` while any of its jobs runs.
        """
        removed = 0
        while True:
            answer, *number = self._run("obliterate", queue, "1" if force else "0", REMOVED_AT_ONCE)
            if answer == "missing":
                raise NotFound("queue", queue)
            if answer == "active":
                raise QueueBusy(queue, int(number[0]))
            removed += int(number[0])
            if answer == "done":
                return removed

    def _count(self, queue: str, state: State) -> int:
        with store_errors():
            return int(self._redis.zcard(self._keys.state(queue, state)))
