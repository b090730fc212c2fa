"""The budget of time series: which queues, job types and workers get series of their own.

Whoever may submit jobs may name queues, and with unknown job types allowed, types too; Prometheus pays for each name in
memory. So the exporter gives a bounded number of them series of their own and counts the rest together under
``(other)``, a label value that no queue and no type can have.
"""

from collections.abc import Hashable, Iterable
from typing import Final, Generic, TypeVar

__all__ = ["OTHER", "Admission"]

#: The label value of what has no series of its own; parentheses are not allowed in names.
OTHER: Final = "(other)"

K = TypeVar("K", bound=Hashable)


class Admission(Generic[K]):
    """Which keys have a place, first come, first served, while places last.

    It is sticky both ways: a key that has a place keeps it, and one that was turned away stays away, for as long as the
    key exists. Otherwise a key that changes sides would make the sum under ``(other)`` fall, which Prometheus takes for
    a restart of the counter.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._admitted: set[K] = set()
        self._refused: set[K] = set()

    def update(self, present: Iterable[K]) -> None:
        """Take note of the keys that exist now, the most deserving first."""
        keys = dict.fromkeys(present)
        self._admitted.intersection_update(keys)
        self._refused.intersection_update(keys)
        for key in keys:
            if key not in self._admitted and key not in self._refused:
                (self._admitted if len(self._admitted) < self._places else self._refused).add(key)

    def __contains__(self, key: K) -> bool:
        return key in self._admitted

    @property
    def refused(self) -> int:
        """How many keys have no place."""
        return len(self._refused)
