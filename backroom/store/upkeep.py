"""Upkeep: promoting due jobs and sweeping lost, late and old ones, in bounded steps."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from backroom.store.part import Part

__all__ = ["Sweeper", "Swept", "Upkeep"]

#: Bounds on one call, which holds Redis for a few ms at most.
PROMOTED_AT_ONCE = 200
SWEPT_QUEUES_AT_ONCE = 100
SWEPT_JOBS_AT_ONCE = 100
#: How long a `Sweeper` goes on before its caller has its turn, in seconds.
SWEPT_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did."""

    #: Jobs whose lease had ended.
    stalled: int = 0
    #: Jobs that had not started within their ttl.
    expired: int = 0
    #: Finished jobs whose time was over.
    forgotten: int = 0

    def __add__(self, other: "Swept") -> "Swept":
        """Both together."""
        return Swept(self.stalled + other.stalled, self.expired + other.expired, self.forgotten + other.forgotten)


class Upkeep(Part):
    """Any number of processes may do this at once."""

    def promote(self) -> tuple[int, int | None]:
        """Move due jobs to waiting, one bounded step. Returns how many, and ms until the next is due (0: go on now)."""
        moved, due = self._run("promote", PROMOTED_AT_ONCE)
        return int(moved), None if due < 0 else int(due)

    def sweep(self) -> Swept:
        """Look after every queue, until none has more to do."""
        return sum(self.steps(), Swept())

    def steps(self) -> Iterator[Swept]:
        """A sweep, one bounded step after the other.

        Queues take turns, so that one with a million jobs whose time is over holds up no lost job of another.
        """
        place, again = 0, False
        while True:
            place, stalled, expired, forgotten, more = self._run(
                "sweep", place, SWEPT_QUEUES_AT_ONCE, SWEPT_JOBS_AT_ONCE
            )
            again = again or bool(more)
            yield Swept(stalled, expired, forgotten)
            if place < 0:
                if not again:
                    return
                place, again = 0, False


class Sweeper:
    """Sweeps for a moment at a time, for those who have more urgent things to do. One thread's.

    A million jobs whose time is over take the better part of a minute.
    """

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep
        self._steps: Iterator[Swept] | None = None

    @property
    def has_more(self) -> bool:
        """Whether the sweep that was begun has more to do."""
        return self._steps is not None

    def go_on(self) -> Swept:
        """Go on with the sweep that has more to do, or begin one. Returns what that did."""
        # One that fails is not gone on with.
        steps, self._steps = self._steps or self._upkeep.steps(), None
        done, until = Swept(), time.monotonic() + SWEPT_SECONDS
        for step in steps:
            done += step
            if time.monotonic() >= until:
                self._steps = steps
                break
        return done
