"""Waiting for jobs to end, for ``Prefer: wait``: many callers, one reader of events."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from backroom.model.errors import StoreUnavailable
from backroom.model.job import Job
from backroom.model.states import FINISHED
from backroom.store import Store
from services.api.http.problems import Problem

__all__ = ["Seat", "Waiters"]

log = structlog.get_logger("backroom.api")

_ENDINGS: Final = frozenset({"completed", "failed", "cancelled", "expired", "removed"})
BLOCK_SECONDS: Final = 1.0
"""How long one read of events waits for the first; also how soon a process that is stopped lets its waiters go."""
LOOK_SECONDS: Final = 5.0
"""How often a waiter looks for itself, should an event have been trimmed away unread."""
RETRY_SECONDS: Final = 0.5
"""Pause of the reader while the store is away."""
BATCH: Final = 1000


class Waiters:
    """The waiting room of one process. It has so many seats; one thread reads events for all who sit."""

    def __init__(self, store: Store, *, limit: int, is_draining: Callable[[], bool]) -> None:
        self._store = store
        self._limit = limit
        self._seats = threading.Semaphore(limit)
        self._is_draining = is_draining
        self._lock = threading.Lock()
        self._waiting: dict[str, set[threading.Event]] = {}
        self._reading = False

    @contextmanager
    def seat(self) -> Iterator["Seat"]:
        """Take a seat, so that a later wait is certain to be possible. Raises `Problem` (503) if none is free."""
        if not self._seats.acquire(blocking=False):
            raise Problem("too-many-waits", f"{self._limit} callers wait in this process already: ask without waiting.")
        try:
            yield Seat(self, self._store)
        finally:
            self._seats.release()

    @property
    def is_draining(self) -> bool:
        """Whether the process is on its way out, so that nobody should wait any longer."""
        return self._is_draining()

    @contextmanager
    def notice_of(self, job_id: str) -> Iterator[threading.Event]:
        """An event that is set whenever the job may have ended, from now on."""
        notice = threading.Event()
        with self._lock:
            self._waiting.setdefault(job_id, set()).add(notice)
            if not self._reading:
                self._reading = True
                threading.Thread(target=self._read, name="job-endings", daemon=True).start()
        try:
            yield notice
        finally:
            with self._lock:
                notices = self._waiting[job_id]
                notices.discard(notice)
                if not notices:
                    del self._waiting[job_id]

    def _read(self) -> None:
        """Read events for as long as anybody waits. Runs in a thread of its own."""
        block_ms = int(1000 * min(BLOCK_SECONDS, self._store.settings.redis_timeout_seconds / 2))
        position: str | None = None
        while self._goes_on():
            try:
                if position is None:
                    position = self._store.events.last_id()
                    self._notify_all()  # what ended before this point is in no event to come: look once more
                events = self._store.events.read(position, block_ms=block_ms, count=BATCH)
            except StoreUnavailable:
                time.sleep(RETRY_SECONDS)
                continue
            except Exception:
                log.exception("reading events failed; those who wait look for themselves")
                time.sleep(RETRY_SECONDS)
                continue
            if events:
                position = events[-1].id
                self._notify({event.job_id for event in events if event.type in _ENDINGS})
            if self._is_draining():
                self._notify_all()

    def _goes_on(self) -> bool:
        with self._lock:
            self._reading = bool(self._waiting)
            return self._reading

    def _notify(self, job_ids: Iterable[str]) -> None:
        with self._lock:
            for job_id in job_ids:
                for notice in self._waiting.get(job_id, ()):
                    notice.set()

    def _notify_all(self) -> None:
        with self._lock:
            everybody = list(self._waiting)
        self._notify(everybody)


class Seat:
    """The right to wait for one job."""

    def __init__(self, room: Waiters, store: Store) -> None:
        self._room = room
        self._store = store

    def until_finished(self, job_id: str, seconds: float, *, attempts: bool = False) -> Job:
        """The job as soon as it has finished; after ``seconds``, or when the process is being stopped, as it is then.

        Raises `NotFound` if it is gone, `StoreUnavailable`.
        """
        deadline = time.monotonic() + seconds
        with self._room.notice_of(job_id) as notice:
            while True:
                notice.clear()
                job = self._store.inspection.get(job_id, attempts=attempts)
                left = deadline - time.monotonic()
                if job.state in FINISHED or left <= 0 or self._room.is_draining:
                    return job
                notice.wait(min(left, LOOK_SECONDS))
