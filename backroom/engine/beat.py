"""Celery beat's scheduler class: puts timed work on the board and keeps the board tidy.

It sleeps until the next job or slot is due, and is woken when an earlier one arrives. Any number of schedulers may run.
"""

import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from celery.beat import Scheduler

from backroom.engine.periodic import periodic_schedules
from backroom.engine.urls import store_url
from backroom.model.errors import StoreFull, StoreUnavailable
from backroom.settings import get_settings
from backroom.store import Store, connect
from backroom.store.alarm import Alarm
from backroom.store.bulk_runner import BulkRunner
from backroom.store.upkeep import Sweeper, Swept

if TYPE_CHECKING:
    from backroom.model.schedule import ScheduleSpec

__all__ = ["JobScheduler"]

logger = logging.getLogger(__name__)

#: The pause before it tries again to reach a store that is away, or goes on after a defect, in seconds.
PAUSE_SECONDS = 0.5


class JobScheduler(Scheduler):
    """Promotes due jobs, fires schedules and sends webhooks on their way at once; sweeps lost, expired and old jobs."""

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        settings = get_settings()
        url = store_url(app)
        self._store = Store(connect(url, timeout=settings.redis_timeout_seconds), settings=settings)
        self._alarm = Alarm(url, self._store.keys.wake("scheduler"), settings.redis_timeout_seconds)
        self._bulk_runner = BulkRunner(self._store)
        self._sweeper, self._swept = Sweeper(self._store.upkeep), Swept()
        self._sweep_seconds = settings.sweep_seconds
        self._sweep_at = 0.0
        self._next_due: float | None = None
        self._id = f"scheduler@{socket.gethostname()}-{os.getpid()}"
        self._periodic: dict[str, ScheduleSpec] | None = None
        #: What is wrong with the store, as it was last said: "away", "full" or "".
        self._trouble = ""
        self._closed = False
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Read Celery's own entries, ``beat_schedule`` and defaults; all other schedules are in the store.

        Raises ``ImproperlyConfigured`` for entries that Backroom cannot keep.
        """
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)
        self._periodic = periodic_schedules(self.app, self.schedule.values())

    def tick(self, *_: Any, **__: Any) -> float:
        """Do what is due, then sleep until something is. Returns 0: beat need not sleep on top."""
        try:
            self._do_what_is_due()
            if self._trouble:
                self._trouble = ""
                logger.info("the job store is back")
            self._sleep()
        except StoreUnavailable as error:
            trouble = "full" if isinstance(error, StoreFull) else "away"
            if trouble != self._trouble:
                self._trouble = trouble
                logger.warning("the job store is %s, trying again every %.1f s: %s", trouble, PAUSE_SECONDS, error)
            self._pause()
        except Exception:
            logger.exception("the scheduler stumbled and goes on")
            self._pause()
        return 0

    def _pause(self) -> None:
        self._alarm.reset()
        time.sleep(PAUSE_SECONDS)

    def _do_what_is_due(self) -> None:
        full = self._put_entries()
        now = time.monotonic()
        begins = now >= self._sweep_at
        if begins:
            self._sweep_at = now + self._sweep_seconds
        if begins or self._sweeper.has_more:
            self._sweep()
        if begins:
            self._store.workers.tick(self._id)
            self._bulk_runner.nudge()
        # A full store takes no new jobs, but lets those that wait go on: promoting comes first.
        _, job_due = self._store.upkeep.promote()
        if full is not None:
            raise full
        _, slot_due = self._store.schedules.fire_due()
        more_to_tell = self._store.outbox.dispatch()
        soonest = min((due for due in (job_due, slot_due) if due is not None), default=None)
        soonest = 0 if more_to_tell or self._sweeper.has_more else soonest
        self._next_due = None if soonest is None else time.monotonic() + soonest / 1000

    def _put_entries(self) -> StoreFull | None:
        """Store the entries of the application, once; what a full store says to that."""
        if self._periodic is not None:
            try:
                self._store.schedules.put_celery(self._periodic, owner=self.app.main or "")
            except StoreFull as full:
                return full
            self._periodic = None
        return None

    def _sweep(self) -> None:
        self._swept += self._sweeper.go_on()
        if self._sweeper.has_more:
            return
        swept, self._swept = self._swept, Swept()
        if swept.stalled or swept.expired:
            logger.info("swept: %d stalled, %d expired, %d forgotten", swept.stalled, swept.expired, swept.forgotten)

    def _sleep(self) -> None:
        until = self._sweep_at if self._next_due is None else min(self._sweep_at, self._next_due)
        wait = until - time.monotonic()
        if wait > 0:
            self._alarm.wait(wait)

    def close(self) -> None:
        """Say goodbye, once: Celery closes in its signal handler, and again on the way out."""
        if self._closed:
            return
        self._closed = True
        self._bulk_runner.stop()
        try:
            self._store.workers.retire_scheduler(self._id)
        except StoreUnavailable:
            logger.info("the store is away: this scheduler's record will expire by itself")
        self._alarm.reset()
        super().close()
