"""A thread that makes the steps of bulk actions."""

import logging
import random
import threading

from backroom.model.errors import StoreUnavailable
from backroom.store.store import Store

__all__ = ["BulkRunner"]

logger = logging.getLogger(__name__)

#: It looks for actions that nobody is at work on this often, in seconds, with jitter.
LOOK_SECONDS = 2.0


class BulkRunner:
    """One a process, in the API and in the scheduler: whichever of them live go on with what others have begun."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._news = threading.Event()
        self._stopped = False

    def nudge(self) -> None:
        """There may be something to do. The first time it begins to look by itself as well."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bulk-runner", daemon=True)
                self._thread.start()
        self._news.set()

    def stop(self) -> None:
        """Begin no further step. Takes no lock: signal handlers call it."""
        self._stopped = True

    def _run(self) -> None:
        while not self._stopped:
            self._news.wait(LOOK_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 - spreads processes, no secret
            self._news.clear()
            try:
                self._store.bulk.work(lambda: not self._stopped)
            except StoreUnavailable as error:
                logger.info("bulk actions wait for the job store: %s", error)
            except Exception:
                logger.exception("a bulk action has failed")
