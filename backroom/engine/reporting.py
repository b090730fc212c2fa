"""Sends what running jobs say to the store while they run."""

import logging
import os
import threading
import time

from backroom.engine.current import Reporter, RunningJob
from backroom.model.errors import BackroomError
from backroom.settings import Settings
from backroom.store import Store, connect

__all__ = ["reporter"]

logger = logging.getLogger(__name__)

#: Between two rounds of reports, in seconds; what a job says in between goes together.
REPORT_SECONDS = 0.25


class _StoreReporter(threading.Thread):
    """Sends progress and log lines a few times a second, from a thread of its own and on connections of its own."""

    def __init__(self, url: str, settings: Settings) -> None:
        super().__init__(name="backroom-reporter", daemon=True)
        self._store = Store(connect(url, timeout=settings.redis_timeout_seconds), settings=settings)
        self._noted: set[RunningJob] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._begun = False

    def note(self, job: RunningJob) -> None:
        """Report the job soon."""
        with self._lock:
            self._noted.add(job)
            if not self._begun:
                self._begun = True
                self.start()
        self._wake.set()

    def is_cancelled(self, job: RunningJob) -> bool:
        """Ask the store now; an unreachable store says no."""
        try:
            return self._store.execution.report(job.id, job.token) != "renewed"
        except BackroomError:
            return False

    def expect(self, job: RunningJob) -> None:
        """Let the job wait for what others bring."""
        self._store.execution.expect(job.id, job.token)

    def run(self) -> None:
        """Report until the process ends."""
        while True:
            self._wake.wait()
            time.sleep(REPORT_SECONDS)
            self._wake.clear()
            with self._lock:
                noted, self._noted = self._noted, set()
            for job in noted:
                self._report(job)

    def _report(self, job: RunningJob) -> None:
        def send(progress: str | None, lines: list[str]) -> bool:
            try:
                self._store.execution.report(job.id, job.token, progress=progress, logs=lines)
            except BackroomError:
                return False
            return True

        try:
            if not job.report(send):
                self.note(job)
        except Exception:
            logger.exception("what job %s said could not be reported", job.id)


_reporter: _StoreReporter | None = None
_reporter_pid = 0
_lock = threading.Lock()


def reporter(url: str, settings: Settings) -> Reporter:
    """This process's reporter; a forked child makes its own."""
    global _reporter, _reporter_pid
    if _reporter is None or _reporter_pid != os.getpid():
        with _lock:
            if _reporter is None or _reporter_pid != os.getpid():
                _reporter, _reporter_pid = _StoreReporter(url, settings), os.getpid()
    return _reporter
