"""Shared memory in which pool slots say how far they are with what they were given.

Every message to a pool slot, of one job or of several very short ones, has a place here. Through it

- the worker takes back jobs that have not begun: the one before them may prove long, or the child may be killed;
- a signal that asks a job to stop reaches that job alone, and not the one that the slot has begun since;
- what a child had finished of a message outlives the child.

The slot writes which job it is about to run and *then* reads the limit, the first job that may not run. The worker
writes the limit and reads which job runs only `SETTLED_SECONDS` later: by then the slot's write is visible if it read
the old limit, and if it is not, the slot will read the new one. No lock is needed, so a killed child cannot hold one.
"""

import mmap
from collections.abc import Iterator

__all__ = ["NOT_BEGUN", "SETTLED_SECONDS", "Board"]

PLACES = 1024
#: Of a place: its numbers first, then the records of jobs that have ended, each behind its length.
PLACE_BYTES = 16 * 1024
_WORD = 4
#: Which number of a place is what.
_CURRENT, _LIMIT, _ASKED, _ENDED, _USED = range(5)
_HEAD_BYTES = 8 * _WORD
NOT_BEGUN = 0xFFFF_FFFF
_NO_LIMIT = 0xFFFF_FFFF
SETTLED_SECONDS = 0.02
#: What a job may be asked is a number below this.
_WISHES = 8


class Board:
    """Create it before the pool forks: children inherit the memory."""

    def __init__(self) -> None:
        self._bytes = memoryview(mmap.mmap(-1, PLACES * PLACE_BYTES))
        self._words = self._bytes.cast("I")
        self._free = list(range(PLACES))

    # The worker's side.

    @property
    def full(self) -> bool:
        """Whether `take` would fail."""
        return not self._free

    def take(self) -> int:
        """A free place, reset. Raises `IndexError` when all are taken."""
        place = self._free.pop()
        head = _head(place)
        for word, value in ((_CURRENT, NOT_BEGUN), (_LIMIT, _NO_LIMIT), (_ASKED, 0), (_ENDED, 0), (_USED, 0)):
            self._words[head + word] = value
        return place

    def give_back(self, place: int) -> None:
        """The message is done: no slot will look at its place any more."""
        self._free.append(place)

    def current(self, place: int) -> int:
        """The index of the job that was announced last, or `NOT_BEGUN`."""
        return self._words[_head(place) + _CURRENT]

    def runs(self, place: int, index: int) -> bool:
        """Whether the job was announced and has not ended; always right in saying no."""
        head = _head(place)
        return self._words[head + _CURRENT] == index and self._words[head + _ENDED] <= index

    def stop(self, place: int) -> None:
        """Let the slot begin no further job of the message."""
        self._words[_head(place) + _LIMIT] = 0

    def ask(self, place: int, index: int, wish: int) -> None:
        """Ask something of a job: a number from 1 to 7."""
        self._words[_head(place) + _ASKED] = (index + 1) * _WISHES + wish

    def records(self, place: int) -> Iterator[bytes]:
        """What the slot recorded, in order."""
        at = place * PLACE_BYTES + _HEAD_BYTES
        for _ in range(self._words[_head(place) + _ENDED]):
            size = self._words[at // _WORD]
            at += _WORD
            yield bytes(self._bytes[at : at + size])
            at += _padded(size)

    # The slot's side.

    def begin(self, place: int, index: int) -> bool:
        """Announce the job with this index. False: it must not run, nor those behind it."""
        head = _head(place)
        self._words[head + _CURRENT] = index
        return self._words[head + _LIMIT] > index

    def wish(self, place: int, index: int) -> int:
        """What this job is asked, or 0."""
        asked, wish = divmod(self._words[_head(place) + _ASKED], _WISHES)
        return wish if asked == index + 1 else 0

    def record(self, place: int, data: bytes) -> bool:
        """Leave the record of the job that has just ended. False: there is no space for it."""
        head = _head(place)
        used = self._words[head + _USED]
        needed = _WORD + _padded(len(data))
        if used + needed > PLACE_BYTES - _HEAD_BYTES:
            return False
        at = place * PLACE_BYTES + _HEAD_BYTES + used
        self._words[at // _WORD] = len(data)
        self._bytes[at + _WORD : at + _WORD + len(data)] = data
        self._words[head + _USED] = used + needed
        self._words[head + _ENDED] += 1  # last: only what is whole counts
        return True


def _head(place: int) -> int:
    return place * PLACE_BYTES // _WORD


def _padded(size: int) -> int:
    return -(-size // _WORD) * _WORD
