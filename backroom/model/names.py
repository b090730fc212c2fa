"""Ids and names: of jobs, job types, queues, schedules and tags."""

import os
import re
import time
from functools import lru_cache

from backroom.model.errors import InvalidInput

__all__ = ["NAME_PATTERN", "check_name", "is_name", "new_id"]

#: What ids, queues, job names and schedule keys look like; ``.`` and ``..`` are refused on top.
NAME_PATTERN = r"^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}$"
_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]{1,128}\Z")


#: Ids take so much of random digits, and random bytes are had for so many ids at once: a call of the system for each
#: would be most of what an id costs.
_ID_DIGITS, _IDS_AT_ONCE = 19, 64
_VARIANT = {digit: f"{0b1000 | int(digit, 16) & 0b11:x}" for digit in "0123456789abcdef"}
_spare: list[str] = []
os.register_at_fork(after_in_child=_spare.clear)


def is_name(value: object) -> bool:
    """Whether ``value`` may serve as an id, queue, job name or schedule key."""
    return isinstance(value, str) and _is_name(value)


@lru_cache(maxsize=1024)
def _is_name(text: str) -> bool:
    """Most names are those of a few queues and job types."""
    return _NAME.match(text) is not None


def check_name(value: object, pointer: str) -> str:
    """Return ``value`` if it is a valid name; raise `InvalidInput` at ``pointer`` if not."""
    if isinstance(value, str) and _is_name(value):
        return value
    raise InvalidInput.at(
        pointer, "invalid-name", "must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ - and neither '.' nor '..'"
    )


def new_id(*, milliseconds: int | None = None, digits: str | None = None) -> str:
    """A UUIDv7 (RFC 9562, 5.7): 48 bits of Unix time in ms, then 74 random bits. Ids made later sort later.

    ``digits``: at least 19 lower-case hexadecimal ones, for an id that can be made again.
    """
    begin = _begin_of(time.time_ns() // 1_000_000 if milliseconds is None else milliseconds)
    digits = _random_digits() if digits is None else digits
    return f"{begin}{digits[:3]}-{_VARIANT[digits[3]]}{digits[4:7]}-{digits[7:_ID_DIGITS]}"


@lru_cache(maxsize=1)
def _begin_of(milliseconds: int) -> str:
    text = f"{milliseconds:012x}"
    return f"{text[:8]}-{text[8:]}-7"


def _random_digits() -> str:
    """As many as an id takes; nobody gets them twice, in whatever thread or forked process."""
    try:
        return _spare.pop()
    except IndexError:
        digits = os.urandom(_IDS_AT_ONCE * _ID_DIGITS // 2).hex()
        mine, *others = (digits[at : at + _ID_DIGITS] for at in range(0, len(digits), _ID_DIGITS))
        _spare.extend(others)
        return mine
