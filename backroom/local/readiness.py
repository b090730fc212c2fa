"""Whether the stack is really up: API ready, workers seen in the store and offering work, scheduler alive."""

import os
import threading
import urllib.request
from collections.abc import Callable, Mapping
from typing import Final

from backroom.local.server import HOST
from backroom.model.errors import BackroomError
from backroom.store import Store

__all__ = ["FIRST_JOB", "Readiness"]

FIRST_JOB: Final = "heavy-task"
"""The job type of the quick door, and so of the first job that anybody sends."""
_TIMEOUT_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.2
#: A proxy that the environment names (``http_proxy``) is on the way to other machines, not to this one.
_here: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Readiness(threading.Thread):
    """Looks until all is up, or until it is told to stop; a thread, because each look may have to wait."""

    def __init__(self, store: Store, port: int, pids: Callable[[], Mapping[str, int]]) -> None:
        """Look at a store and at the API on a port.

        :param pids: returns the process ids of what runs now, by name; workers are named ``worker-...``.
        """
        super().__init__(name="readiness", daemon=True)
        self._store = store
        self._port = port
        self._pids = pids
        self._ticks: Mapping[str, float] | None = None
        self._cancelled = threading.Event()
        #: What is not up yet, in words; empty once everything was seen up.
        self.missing: tuple[str, ...] = ("everything",)

    def run(self) -> None:
        """Look, again and again."""
        while not self._cancelled.is_set():
            self.missing = tuple(self._look())
            if not self.missing:
                return
            self._cancelled.wait(_POLL_SECONDS)

    def cancel(self) -> None:
        """Stop looking."""
        self._cancelled.set()

    def _look(self) -> list[str]:
        try:
            missing = [*self._missing_workers(), *self._missing_scheduler()]
        except BackroomError as error:
            return [f"the job store ({error})"]
        return [*self._missing_api(), *missing]

    def _missing_api(self) -> list[str]:
        try:
            with _here.open(f"http://{HOST}:{self._port}/readyz", timeout=_TIMEOUT_SECONDS):
                return []
        except (OSError, ValueError):  # not there yet, or not ready (an HTTP error is an OSError)
            return ["the API"]

    def _missing_workers(self) -> list[str]:
        wanted = {pid: name for name, pid in self._pids().items() if name.startswith("worker-")}
        seen = {worker.pid for worker in self._store.workers.list() if worker.host == os.uname().nodename}
        missing = [name for pid, name in wanted.items() if pid not in seen]
        if wanted and not missing and self._store.job_types.get(FIRST_JOB) is None:
            return [f"a worker that offers {FIRST_JOB}"]
        return missing

    def _missing_scheduler(self) -> list[str]:
        """A scheduler is alive once a tick is newer than all that were there at the first look."""
        ticks = self._store.workers.scheduler_ticks()
        if self._ticks is None:
            self._ticks = dict(ticks)
        newest = max(self._ticks.values(), default=0.0)
        return [] if any(tick > newest for tick in ticks.values()) else ["the scheduler"]
