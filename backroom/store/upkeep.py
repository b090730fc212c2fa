"""Upkeep: promoting due jobs and sweeping lost, late and old ones, in bounded steps."""

from dataclasses import dataclass

from backroom.store.part import Part

__all__ = ["Swept", "Upkeep"]

#: Bounds on one call, which holds Redis for a few ms at most.
PROMOTED_AT_ONCE = 200
SWEPT_QUEUES_AT_ONCE = 100
SWEPT_JOBS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did."""

    #: Jobs whose lease had ended.
    stalled: int = 0
    #: Jobs that had not started within their ttl.
    expired: int = 0
    #: Finished jobs whose time was over.
    forgotten: int = 0


class Upkeep(Part):
    """Any number of processes may do this at once."""

    def promote(self) -> tuple[int, int | None]:
        """Move due jobs to waiting, one bounded step. Returns how many, and ms until the next is due (0: go on now)."""
        moved, due = self._run("promote", PROMOTED_AT_ONCE)
        return int(moved), None if due < 0 else int(due)

    def sweep(self) -> Swept:
        """Look after every queue once, in bounded steps."""
        place, stalled, expired, forgotten = 0, 0, 0, 0
        while place >= 0:
            place, more_stalled, more_expired, more_forgotten = self._run(
                "sweep", place, SWEPT_QUEUES_AT_ONCE, SWEPT_JOBS_AT_ONCE
            )
            stalled, expired, forgotten = stalled + more_stalled, expired + more_expired, forgotten + more_forgotten
        return Swept(stalled, expired, forgotten)
