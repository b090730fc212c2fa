"""A queue that never runs faster than allowed."""

from backroom import RetryAfter
from backroom.model.errors import NotFound
from backroom.store import Limits, Rate, Store

__all__ = ["require_rate"]


def require_rate(store: Store, queue: str, rate: Rate) -> None:
    """Return if ``queue`` has a rate limit, whichever; give it ``rate`` if it has none, and come back under it.

    Called first in a job, this leaves no moment in which such a job works without a limit, however many workers start
    at once. An operator's own limit (`PUT /v1/queues/{queue}/limits`) stays as it is.

    Raises `RetryAfter` after the limit was set: the job was started without one.
    """
    try:
        limits = store.queues.get(queue).limits
    except NotFound:  # the job was called directly, outside any queue
        limits = Limits()
    if limits.rate is not None:
        return
    store.queues.set_limits(queue, concurrency=limits.concurrency, rate=rate, max_length=limits.max_length)
    raise RetryAfter(0, f"the queue {queue!r} had no rate limit; it has one now")
