"""A board in shared memory on which pool slots say how far they are in a message of several jobs.

When several very short jobs travel to a pool slot in one message, the worker must be able to take back those that have not
begun: one of them may prove long, or the child may be killed. Each message has a place of two numbers. The child writes
``current`` (the job it is about to run) and *then* reads ``limit`` (the first job it may not run any more). The worker writes
``limit`` and reads ``current`` only `SETTLED_SECONDS` later: by then the child's write is visible if it read the old limit,
and if it is not, the child will read the new one. No lock is needed, so a killed child cannot hold one.
"""

import mmap

__all__ = ["NOT_BEGUN", "SETTLED_SECONDS", "Board"]

PLACES = 4096
NOT_BEGUN = 0xFFFF_FFFF
NO_LIMIT = 0xFFFF_FFFF
SETTLED_SECONDS = 0.02


class Board:
    """Create it before the pool forks: children inherit the memory."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, PLACES * 8)
        self._words = memoryview(self._memory).cast("I")
        self._free = list(range(PLACES))

    def take(self) -> int:
        """A free place, reset. Raises `IndexError` when all are taken."""
        place = self._free.pop()
        self._words[2 * place], self._words[2 * place + 1] = NOT_BEGUN, NO_LIMIT
        return place

    def give_back(self, place: int) -> None:
        """The message is done: nobody writes to its place any more."""
        self._free.append(place)

    def begin(self, place: int, index: int) -> bool:
        """In the child: announce the job with this index. False: it must not run, nor those behind it."""
        self._words[2 * place] = index
        return self._words[2 * place + 1] > index

    def current(self, place: int) -> int:
        """The index of the job announced last, or `NOT_BEGUN`."""
        return self._words[2 * place]

    def stop(self, place: int) -> None:
        """Let the child begin no further job of the message."""
        self._words[2 * place + 1] = 0
