"""Waiting for jobs to end, for ``Prefer: wait``."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from backroom.model.job import Job
from backroom.model.states import FINISHED
from backroom.store import Store
from services.api.http.feed import Feed
from services.api.http.seats import Seats

__all__ = ["Seat", "Waiters"]

LOOK_SECONDS: Final = 5.0
"""How often a waiter looks for itself, should an event have been trimmed away unread."""


class Waiters:
    """The waiting room of one process."""

    def __init__(self, store: Store, feed: Feed, seats: Seats) -> None:
        self._store, self._feed, self._seats = store, feed, seats

    @contextmanager
    def seat(self) -> Iterator["Seat"]:
        """Take a seat, so that a later wait is certain to be possible. Raises `Problem` (503) if none is free."""
        with self._seats.seat():
            yield Seat(self._feed, self._store)


class Seat:
    """The right to wait for one job."""

    def __init__(self, feed: Feed, store: Store) -> None:
        self._feed, self._store = feed, store

    def until_finished(self, job_id: str, seconds: float, *, attempts: bool = False) -> Job:
        """The job as soon as it has finished; after ``seconds``, or when the process is being stopped, as it is then.

        Raises `NotFound` if it is gone, `StoreUnavailable`.
        """
        deadline = time.monotonic() + seconds
        with self._feed.notice_of(job_id) as notice:
            while True:
                notice.clear()
                job = self._store.inspection.get(job_id, attempts=attempts)
                left = deadline - time.monotonic()
                if job.state in FINISHED or left <= 0 or self._feed.is_draining:
                    return job
                notice.wait(min(left, LOOK_SECONDS))
