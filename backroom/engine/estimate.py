"""How short jobs are at the moment, which decides how far ahead a worker claims."""

import math

__all__ = ["ShortJobs"]


class ShortJobs:
    """A pessimistic running mean of run times: one long job is believed at once, short ones only in numbers."""

    #: A job longer than this many means replaces the mean.
    _SURPRISE = 4.0
    _WEIGHT = 0.1
    #: Below this a job counts as very short, in seconds.
    VERY_SHORT = 0.005

    def __init__(self) -> None:
        #: Seconds; unknown is long.
        self.mean = math.inf

    def saw(self, seconds: float) -> None:
        """A job ran for this long."""
        if self.mean == math.inf or seconds > self._SURPRISE * max(self.mean, 0.0005):
            self.mean = seconds
        else:
            self.mean += self._WEIGHT * (seconds - self.mean)

    def saw_blockage(self) -> None:
        """Jobs wait behind something long."""
        self.mean = max(1.0, self.mean if self.mean != math.inf else 1.0)

    @property
    def very_short(self) -> bool:
        """Whether jobs may travel together."""
        return self.mean < self.VERY_SHORT

    def ahead(self, seconds: float, slots: int, most: int) -> int:
        """How many jobs to hold beyond free slots so that there is about ``seconds`` of work for each slot."""
        if self.mean == math.inf or not self.very_short:
            return 0
        return min(most, int(slots * seconds / max(self.mean, 0.00002)))
