"""Histograms as Prometheus has them: the store counts what fell between two bounds, Prometheus what fell below each."""

from collections.abc import Sequence
from itertools import accumulate

from backroom.store import Histogram

__all__ = ["below_each"]


def below_each(bounds: Sequence[float], histograms: Sequence[Histogram]) -> list[tuple[str, float]]:
    """The buckets of several histograms with these bounds (seconds) taken together; all 0 without any."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    counts = [(0,) * len(names), *(histogram.counts for histogram in histograms)]
    return list(zip(names, accumulate(map(sum, zip(*counts, strict=True))), strict=True))
