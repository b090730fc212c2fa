"""How `AsyncResult.get` waits: it follows the event stream of the job store."""

import logging
import socket
import time
from contextlib import suppress
from typing import Any

from celery import states
from celery.backends.asynchronous import BaseResultConsumer

from backroom.model.errors import StoreUnavailable
from backroom.model.states import FINISHED

__all__ = ["ResultConsumer"]

logger = logging.getLogger(__name__)

#: How long a waiting client sleeps before it looks at its results without having heard of them, in seconds.
LOOK_SECONDS = 1.0
#: Entries of the event stream that are read at once, of up to 32 events each.
ENTRIES_AT_ONCE = 100
#: With so many events at once no more are read: a client that lags behind looks at its results instead.
MOST_EVENTS = 1000
#: The pause before it tries again to reach a store that is away, in seconds.
PAUSE_SECONDS = 0.2


class ResultConsumer(BaseResultConsumer):
    """Waits for the results of some tasks; a store that is away meanwhile only makes the wait longer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: The last event seen, or None: from now on.
        self._after: str | None = None
        self._wanted: set[str] = set()
        self._look_at = 0.0
        self._away = False

    def on_after_fork(self) -> None:
        """A child follows the stream on its own."""
        self._after, self._wanted = None, set()

    def start(self, initial_task_id: str, **_: Any) -> None:
        """Begin with one task."""
        self.consume_from(initial_task_id)

    def on_wait_for_pending(self, result: Any, **_: Any) -> None:
        """Before it waits: from now on, and what is ready already."""
        self._after, self._look_at = None, 0.0
        with suppress(StoreUnavailable):  # `drain_events` waits for the store
            self._after = self.backend.store.events.last_id()
            for meta in result._iter_meta():  # noqa: SLF001 - what Celery's own consumers do
                if meta is not None and meta["status"] in states.READY_STATES:
                    self.on_state_change(meta, None)

    def on_state_change(self, meta: dict[str, Any], message: Any) -> None:
        """Tell those who wait for the task; one that has ended is not wanted any more."""
        super().on_state_change(meta, message)
        if meta["status"] in states.READY_STATES:
            self.cancel_for(meta["task_id"])
            # Celery keeps what nobody waits for, in case somebody will; here whoever waits looks into the store first.
            kept = self._pending_messages.pop(meta["task_id"], ())
            self._pending_messages.total -= len(kept)

    def consume_from(self, task_id: str) -> None:
        """Care about this task."""
        self._wanted.add(task_id)

    def cancel_for(self, task_id: str) -> None:
        """No longer care."""
        self._wanted.discard(task_id)

    def stop(self) -> None:
        """Care about nothing."""
        self._wanted.clear()

    def drain_events(self, timeout: float | None = None) -> None:
        """Wait for something to happen to a wanted task. Raises `socket.timeout` if nothing has in ``timeout`` s."""
        try:
            heard = self._hear(LOOK_SECONDS if timeout is None else min(LOOK_SECONDS, timeout))
        except StoreUnavailable as error:
            if not self._away:
                logger.warning("the job store is away, still waiting for results: %s", error)
            self._away, self._look_at = True, 0.0
            time.sleep(PAUSE_SECONDS)
            return
        self._away = False
        if not heard and timeout is not None:
            raise socket.timeout  # noqa: UP041 - the name that Celery documents

    def _hear(self, seconds: float) -> bool:
        """Whether anything happened at all."""
        events = self.backend.store.events
        if self._after is None:
            self._after = events.last_id()
        found = events.read(self._after, block_ms=max(1, int(seconds * 1000)), count=ENTRIES_AT_ONCE)
        changed = {
            event.job_id
            for event in found
            if event.job_id in self._wanted
            and (event.type in FINISHED or (self.on_message and event.type == "progress"))
        }
        if found:
            self._after = found[-1].id
        if len(found) >= MOST_EVENTS:  # a busy store: reading all of it would only lag behind more
            self._after, self._look_at = events.last_id(), 0.0
        if time.monotonic() >= self._look_at:  # the stream is capped, and tells nothing of tasks that never were jobs
            self._look_at = time.monotonic() + LOOK_SECONDS
            changed |= self.backend.ready_ids(self._wanted)
        for task_id in changed:
            meta = self.backend.get_task_meta(task_id, cache=False)
            if self.on_message or meta["status"] in states.READY_STATES:
                self.on_state_change(meta, None)
        return bool(found or changed)
