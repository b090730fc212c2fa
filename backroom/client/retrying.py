"""When a request is sent once more, and how long to wait before that."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["RetryPolicy", "retry_after_seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How patient the client is. Waits double from ``first`` to ``longest``, and each is cut short at random."""

    #: How often a request may be repeated.
    retries: int = 4
    #: The first wait, in seconds.
    first: float = 0.25
    #: No wait is longer, in seconds, unless the server asks for it.
    longest: float = 8.0
    #: A server that asks for more patience than this, in seconds, is not waited for.
    longest_asked: float = 60.0
    #: Yields numbers in [0, 1).
    random: Callable[[], float] = random.random
    sleep: Callable[[float], None] = time.sleep
    #: Seconds; only differences count.
    clock: Callable[[], float] = time.monotonic

    def pause(self, tried: int, asked: float | None = None) -> float | None:
        """Seconds to wait after so many tries that failed (1 first); None: give up.

        ``asked`` is what the server wants at least (``Retry-After``).
        """
        if tried > self.retries or (asked is not None and asked > self.longest_asked):
            return None
        return self.wait(tried, asked)

    def wait(self, tried: int, asked: float | None = None) -> float:
        """The same for one who never gives up."""
        step = min(self.longest, self.first * 2.0 ** min(tried - 1, 30))
        if asked is not None:
            return asked + step * self.random()
        return step * (1 + self.random()) / 2


def retry_after_seconds(value: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """``Retry-After`` in seconds, given as a number or as an HTTP date; None if there is none, or none to be read."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now()).total_seconds())
