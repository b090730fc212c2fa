"""Backoff: how long a failed job waits before its next try."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

__all__ = ["MAX_BACKOFF_SECONDS", "Backoff", "CustomBackoff", "Exponential", "Fixed", "milliseconds_of", "seconds_of"]

#: No backoff is longer than this: 366 days.
MAX_BACKOFF_SECONDS = 366 * 86_400.0

#: ``(attempt, error) -> seconds``: attempt counts from 1; 0 means at once, -1 means fail now.
CustomBackoff = Callable[[int, BaseException], float]


def seconds_of(value: float | timedelta) -> float:
    """A duration given in seconds or as a `timedelta`, in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def milliseconds_of(value: float | timedelta) -> int:
    """A duration given in seconds or as a `timedelta`, in whole ms: rounded up, for nothing may come early."""
    return math.ceil(round(seconds_of(value) * 1000, 3))  # 16.1 s are 16100 ms, though 16.1 * 1000 is a little more


@dataclass(frozen=True, slots=True)
class Backoff:
    """A rule that yields the seconds to wait after the n-th failed try."""

    #: Seconds; of the first wait, for exponential backoff.
    delay: float
    #: 0..1: with jitter j a wait of d becomes a uniformly random one in [d(1-j), d).
    jitter: float = 0.0

    def __init__(self, delay: float | timedelta, jitter: float = 0.0) -> None:
        seconds = seconds_of(delay)
        if not 0 <= seconds <= MAX_BACKOFF_SECONDS:
            raise ValueError(f"delay must be between 0 and {MAX_BACKOFF_SECONDS:g} seconds, not {delay!r}")
        if not 0 <= jitter <= 1:
            raise ValueError(f"jitter must be between 0 and 1, not {jitter!r}")
        object.__setattr__(self, "delay", seconds)
        object.__setattr__(self, "jitter", float(jitter))

    def _base(self, attempt: int) -> float:
        raise NotImplementedError(f"use Fixed or Exponential, not {type(self).__name__} (attempt {attempt})")

    def seconds(self, attempt: int, rand: Callable[[], float] = random.random) -> float:
        """The wait in seconds after the ``attempt``-th try (1 first); ``rand`` yields numbers in [0, 1)."""
        base = min(self._base(attempt), MAX_BACKOFF_SECONDS)
        return base * (1 - self.jitter * (1 - rand())) if self.jitter else base


class Fixed(Backoff):
    """The same wait before every retry."""

    __slots__ = ()

    def _base(self, attempt: int) -> float:  # noqa: ARG002 - every attempt waits the same
        return self.delay


class Exponential(Backoff):
    """``delay * 2 ** (n - 1)`` after the n-th try: BullMQ's rule."""

    __slots__ = ()

    def _base(self, attempt: int) -> float:
        return self.delay * 2.0 ** min(attempt - 1, 64)
