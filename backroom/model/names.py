"""Ids and names: of jobs, job types, queues, schedules and tags."""

import os
import re
import time

from backroom.model.errors import InvalidInput

__all__ = ["NAME_PATTERN", "check_name", "is_name", "new_id"]

#: What ids, queues, job names and schedule keys look like; ``.`` and ``..`` are refused on top.
NAME_PATTERN = r"^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}$"
_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]{1,128}\Z")


def is_name(value: object) -> bool:
    """Whether ``value`` may serve as an id, queue, job name or schedule key."""
    return isinstance(value, str) and _NAME.match(value) is not None


def check_name(value: object, pointer: str) -> str:
    """Return ``value`` if it is a valid name; raise `InvalidInput` at ``pointer`` if not."""
    if isinstance(value, str) and _NAME.match(value):
        return value
    raise InvalidInput.at(
        pointer, "invalid-name", "must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ - and neither '.' nor '..'"
    )


def new_id(*, milliseconds: int | None = None, randomness: int | None = None) -> str:
    """A UUIDv7 (RFC 9562, 5.7): 48 bits of Unix time in ms, then 74 random bits. Ids made later sort later."""
    milliseconds = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    randomness = int.from_bytes(os.urandom(10)) >> 6 if randomness is None else randomness
    value = (milliseconds << 80) | (0x7 << 76) | ((randomness >> 62) << 64) | (0b10 << 62) | (randomness & (2**62 - 1))
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
