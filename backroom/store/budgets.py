"""Budgets of requests: how many a caller may send in a window of time, over all processes of the API."""

import hashlib
from dataclasses import dataclass

from backroom.store.part import Part

__all__ = ["Budgets", "Spent"]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a caller has used up."""

    #: Requests in the running window.
    requests: int
    #: ms until the window ends.
    left_ms: int


class Budgets(Part):
    """Counts requests."""

    def spend(self, name: str, caller: str, *, window_seconds: int) -> Spent:
        """Count one request of this caller against the budget of this name."""
        budget = f"{name}:{hashlib.sha256(caller.encode()).hexdigest()}"
        requests, left_ms = self._run("spend", budget, window_seconds * 1000)
        return Spent(int(requests), max(0, int(left_ms)))
