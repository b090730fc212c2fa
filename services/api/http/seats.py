"""Seats: callers that wait or listen hold their connection for long, so they are counted, over all processes."""

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from services.api.http.problems import Problem

__all__ = ["Seats", "Tally"]

CELLS: Final = 256
_FREE: Final = -1


class Tally:
    """How many seats each process has taken, in memory that all of them share: made before they are forked.

    A process counts in a cell of its own, so that no lock is needed and none can be left behind by one that is killed.
    """

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, 8 * CELLS)).cast("q")
        for cell in range(CELLS):
            self._cells[cell] = _FREE

    def open(self) -> int:
        """A cell for a process that is about to be forked. Called by the one that forks. Raises `IndexError`."""
        cell = next(cell for cell in range(CELLS) if self._cells[cell] == _FREE)
        self._cells[cell] = 0
        return cell

    def close(self, cell: int) -> None:
        """The process has ended, and its seats are free. Called by the one that forked it."""
        self._cells[cell] = _FREE

    def set(self, cell: int, taken: int) -> None:
        """Write down how many seats the process of this cell has taken."""
        self._cells[cell] = taken

    def others(self, cell: int) -> int:
        """How many seats the other processes have taken."""
        return sum(taken for at, taken in enumerate(self._cells) if at != cell and taken > 0)


class Seats:
    """The seats as one process sees them: ``limit`` of them, over all processes once it shares a tally."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._taken = 0
        self._tally: tuple[Tally, int] | None = None

    def share(self, tally: Tally, cell: int) -> None:
        """Count together with the other processes; ``cell`` is this one's."""
        self._tally = (tally, cell)

    def take(self) -> None:
        """Take a seat, to be given back once. Raises `Problem` (503) if none is free."""
        with self._lock:
            others = 0 if self._tally is None else self._tally[0].others(self._tally[1])
            if self._taken + others >= self._limit:
                detail = f"{self._limit} callers wait or listen already: ask without waiting, or later."
                raise Problem("too-many-waits", detail)
            self._count(1)

    def give_back(self) -> None:
        """Let another caller have the seat."""
        with self._lock:
            self._count(-1)

    def _count(self, more: int) -> None:
        self._taken += more
        if self._tally is not None:
            self._tally[0].set(self._tally[1], self._taken)

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Hold a seat. Raises `Problem` (503) if none is free."""
        self.take()
        try:
            yield
        finally:
            self.give_back()
