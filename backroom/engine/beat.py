"""Celery beat's scheduler class: puts timed work on the board and keeps the board tidy.

It sleeps until the next job is due, and is woken when an earlier one arrives. Any number of schedulers may run.
"""

import logging
import os
import socket
import time
from typing import Any

from celery.beat import Scheduler

from backroom.model.errors import StoreUnavailable
from backroom.settings import get_settings
from backroom.store import Store
from backroom.store.alarm import Alarm

__all__ = ["JobScheduler"]

logger = logging.getLogger(__name__)

#: The pause before it tries again to reach a store that is away, in seconds.
PAUSE_SECONDS = 0.5


class JobScheduler(Scheduler):  # type: ignore[misc]  # Celery is untyped
    """Promotes due jobs at the due instant, and sweeps lost, expired and old ones."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = get_settings()
        self._store = Store.from_settings(settings)
        self._alarm = Alarm(settings.redis_url, self._store.keys.wake("scheduler"), settings.redis_timeout_seconds)
        self._sweep_seconds = settings.sweep_seconds
        self._sweep_at = 0.0
        self._next_due: float | None = None
        self._id = f"scheduler@{socket.gethostname()}-{os.getpid()}"
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Nothing to load: what is due is in the store."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Do what is due, then sleep until something is. Returns 0: beat need not sleep on top."""
        try:
            self._do_what_is_due()
            self._sleep()
        except StoreUnavailable as error:
            logger.warning("the job store is away, trying again in %.1f s: %s", PAUSE_SECONDS, error)
            self._alarm.reset()
            time.sleep(PAUSE_SECONDS)
        return 0

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + self._sweep_seconds
            swept = self._store.upkeep.sweep()
            if swept.stalled or swept.expired:
                logger.info("swept: %d stalled, %d expired, %d forgotten", swept.stalled, swept.expired, swept.forgotten)
            self._store.workers.tick(self._id)
        self._store.schedules.fire_due()
        _, job_due = self._store.upkeep.promote()
        slot_due = self._store.schedules.next_due_in()
        soonest = min((due for due in (job_due, slot_due) if due is not None), default=None)
        self._next_due = None if soonest is None else time.monotonic() + soonest / 1000

    def _sleep(self) -> None:
        until = self._sweep_at if self._next_due is None else min(self._sweep_at, self._next_due)
        wait = until - time.monotonic()
        if wait > 0:
            self._alarm.wait(wait)

    def close(self) -> None:
        """Say goodbye."""
        try:
            self._store.workers.retire_scheduler(self._id)
        except StoreUnavailable:
            logger.info("the store is away: this scheduler's record will expire by itself")
        self._alarm.reset()
        super().close()
