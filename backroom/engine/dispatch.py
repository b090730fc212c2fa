"""Hands claimed jobs to the pool: one at a time, or several very short ones in a message."""

import logging
import os
import signal as signals
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from billiard.exceptions import Terminated, TimeLimitExceeded
from celery.platforms import signals as celery_signals

from backroom.engine.board import NOT_BEGUN, SETTLED_SECONDS, Board
from backroom.engine.errors import plain_error
from backroom.engine.estimate import ShortJobs
from backroom.engine.request import JobRequest
from backroom.engine.retrying import next_delay_ms
from backroom.engine.running import Finished, run_jobs, running_here
from backroom.settings import Settings
from backroom.store.execution import Outcome

__all__ = ["Dispatcher"]

logger = logging.getLogger(__name__)

#: A job that has not begun this long after it was claimed is given back to the store, in seconds.
HELD_SECONDS = 0.25
#: The most work in one message to a pool slot, in seconds.
MESSAGE_SECONDS = 0.02
#: A child that was asked to end and is still there after this long is killed, in seconds.
KILL_AFTER_SECONDS = 2.0
#: In the threads pool, a job that was stopped and has not looked at ``current_job`` for this long is given up, in seconds.
GIVE_UP_SECONDS = 2.0


@dataclass(eq=False, slots=True)
class Message:
    """Jobs on their way to one pool slot."""

    requests: list[JobRequest]
    #: Where the slot says how far it is; None for a single job.
    place: int | None
    sent_at: float
    #: Those that have not ended and were not taken back, by index.
    open: dict[int, JobRequest] = field(default_factory=dict)
    pid: int | None = None
    recalled: bool = False


class Dispatcher:
    """Feeds the pool. Prefork: lives in the event loop's thread. Threads: called from any, hence the lock.

    ``settle(request, outcome)`` is given every job that ends here: an encoded outcome, or an `Outcome` when the pool could
    not say how it ended.
    """

    def __init__(
        self,
        *,
        pool: Any,
        board: Board,
        settings: Settings,
        settle: Callable[[JobRequest, Finished | Outcome], None],
        forked: bool,
    ) -> None:
        self._pool, self._board, self._settings, self._settle, self._forked = pool, board, settings, settle, forked
        self._lock = threading.RLock()
        self._incoming: deque[JobRequest] = deque()
        self._waiting: deque[JobRequest] = deque()
        self._messages: set[Message] = set()
        self._stopping: dict[str, tuple[JobRequest, str, float]] = {}
        self._closed = False
        self.estimate = ShortJobs()

    @property
    def slots(self) -> int:
        """How many jobs the pool runs at once."""
        return int(self._pool.num_processes)

    def busy(self) -> list[JobRequest]:
        """The jobs that a slot has."""
        with self._lock:
            return [request for message in self._messages for request in message.open.values() if message.pid]

    def add(self, requests: Sequence[JobRequest]) -> None:
        """Take claimed jobs; the next `pump` hands them on."""
        for request in requests:
            request.on_terminate = self.terminate
            self._incoming.append(request)

    def pump(self) -> None:
        """Hand on what the pool has room for. Prefork: only from the event loop's thread, or once `close` was called."""
        with self._lock:
            self._pump()

    # To the pool.

    def _pump(self) -> None:
        while self._incoming:
            self._waiting.append(self._incoming.popleft())
        if self._closed:
            self._release_waiting()
            return
        slots = self.slots
        # A second message for each slot hides the time that the pipe takes, where jobs are shorter than that.
        most = 2 * slots if self.estimate.very_short and self._may_share() else slots
        while self._waiting and len(self._messages) < most:
            self._send(self._next_batch(slots))

    def _may_share(self) -> bool:
        return not getattr(self._pool, "_pool", None) or not getattr(self._pool._pool, "_maxtasksperchild", None)  # noqa: SLF001 - Celery has no public name for it

    def _next_batch(self, slots: int) -> list[JobRequest]:
        first = self._waiting.popleft()
        batch = [first]
        if not self.estimate.very_short or not first.may_share() or not self._may_share():
            return batch
        fair = -(-(len(self._waiting) + 1) // slots)
        most = min(self._settings.message_batch, fair, max(1, int(MESSAGE_SECONDS / max(self.estimate.mean, 1e-5))))
        while len(batch) < most and self._waiting and self._waiting[0].may_share():
            batch.append(self._waiting.popleft())
        return batch

    def _send(self, batch: list[JobRequest]) -> None:
        place = None
        if len(batch) > 1:
            try:
                place = self._board.take()
            except IndexError:
                self._waiting.extendleft(reversed(batch[1:]))
                batch = batch[:1]
        message = Message(batch, place, time.monotonic(), dict(enumerate(batch)))
        self._messages.add(message)
        hard, soft = batch[0].limits() if place is None else (None, None)
        self._pool.apply_async(
            run_jobs,
            args=(place, [tuple(request.wire) for request in batch]),
            accept_callback=lambda pid, _: self._on_accepted(message, pid),
            callback=lambda finished: self._on_finished(message, finished),
            error_callback=lambda error: self._on_lost(message, error),
            timeout_callback=lambda soft, timeout: None,
            timeout=hard,
            soft_timeout=soft,
        )

    # From the pool.

    def _on_accepted(self, message: Message, pid: int) -> None:
        message.pid = pid
        message.sent_at = time.monotonic()
        for request in list(message.open.values()):
            request.accepted(pid)
            if request.cancel_asked:
                self.terminate(request, None)

    def _on_finished(self, message: Message, finished: Any) -> None:
        if not isinstance(finished, list):  # the pool wraps what it could not deliver
            self._on_lost(message, finished)
            return
        with self._lock:
            for index, ended in enumerate(finished):
                self.estimate.saw(ended.seconds)
                request = message.open.pop(index, None)
                if request is not None:
                    self._end(request, ended)
            unbegun = [message.open.pop(index) for index in sorted(message.open)]
            self._done(message)
            self._waiting.extendleft(reversed(unbegun))
            self._pump()

    def _done(self, message: Message) -> None:
        self._messages.discard(message)
        if message.place is not None:
            self._board.give_back(message.place)

    def _end(self, request: JobRequest, outcome: Finished | Outcome) -> None:
        self._stopping.pop(request.id, None)
        request.ended(outcome)
        self._settle(request, outcome)

    def _on_lost(self, message: Message, error: Any) -> None:
        """The child died, was killed by a time limit, or could not send its answer."""
        exception = getattr(error, "exception", error)
        exception = getattr(exception, "exc", exception)
        with self._lock:
            at = 0 if message.place is None else self._board.current(message.place)
            unbegun = []
            for index in sorted(message.open):
                request = message.open.pop(index)
                begun = message.pid is not None and (message.place is None or (at != NOT_BEGUN and index <= at))
                if begun:
                    self._end(request, self._outcome_of_loss(request, exception))
                else:
                    unbegun.append(request)
            self._done(message)
            self._waiting.extendleft(reversed(unbegun))
            self._pump()

    def _outcome_of_loss(self, request: JobRequest, error: BaseException) -> Outcome:
        claimed, attempt = request.claimed, request.claimed.made + 1
        job = {"id": claimed.id, "token": claimed.token}
        if isinstance(error, TimeLimitExceeded):
            limit, _ = request.limits()
            return self._timed_out(request, f"ran longer than its timeout of {limit:g} s" if limit else "ran too long")
        if request.cancel_asked or isinstance(error, Terminated):
            text = plain_error("Cancelled", "cancelled while it ran; its process was ended", attempt=attempt)
            return Outcome(**job, outcome="cancelled", error=text)
        return Outcome(
            **job, outcome="stalled", error=f"the process that ran it (pid {request.worker_pid}) died: {error}"
        )

    def _timed_out(self, request: JobRequest, message: str) -> Outcome:
        claimed, attempt = request.claimed, request.claimed.made + 1
        text = plain_error("TimeLimitExceeded", message, attempt=attempt)
        custom = getattr(request.task, "custom_backoff", None)
        delay = next_delay_ms(request.options, attempt, TimeLimitExceeded(message), custom)
        kind = "failed" if delay is None else "retry"
        if kind == "failed":
            context = request._context  # noqa: SLF001 - the errbacks of a task that cannot call them itself
            request.task.backend.mark_as_failure(
                request.id, TimeLimitExceeded(message), request=context, store_result=False
            )
        return Outcome(id=claimed.id, token=claimed.token, outcome=kind, error=text, delay=delay, tried="timeout")  # type: ignore[arg-type]  # one of OutcomeKind

    # Taking back and stopping.

    def terminate(self, request: JobRequest, signal: Any = None) -> None:
        """Stop a job: one that has not begun is cancelled, a running one is made to end."""
        with self._lock:
            request.cancel_asked = True
            if request in self._waiting:
                self._waiting.remove(request)
                self._end(request, self._outcome_of_loss(request, Terminated()))
                return
            number = celery_signals.signum(signal) if signal is not None else signals.SIGTERM
            self._stop(request, "cancelled", number)

    def _stop(self, request: JobRequest, why: str, signal: int) -> None:
        message = next((m for m in self._messages if request in m.open.values()), None)
        if message is None or request.id in self._stopping:
            return
        if message.pid is None:
            return  # it is stopped when a slot accepts it
        if message.place is not None:
            self._board.stop(message.place)  # the others of its message need not suffer
        self._stopping[request.id] = (request, why, time.monotonic())
        if self._forked:
            _kill(message.pid, signal)
        elif (job := running_here.get(request.id)) is not None:
            job.stop = why

    def tick(self) -> None:
        """Called several times a second: gives back what waits too long, ends what does not end by itself."""
        now = time.monotonic()
        with self._lock:
            for request, why, since in list(self._stopping.values()):
                self._press(request, why, now - since)
            self._limit_threads(now)
            if self._waiting and now - self._waiting[0].claimed_at > HELD_SECONDS:
                self.estimate.saw_blockage()
                self._release_waiting()
            for message in list(self._messages):
                if message.place is not None and not message.recalled and now - message.sent_at > HELD_SECONDS:
                    self._recall(message)

    def _press(self, request: JobRequest, why: str, seconds: float) -> None:
        message = next((m for m in self._messages if request in m.open.values()), None)
        if message is None:
            self._stopping.pop(request.id, None)
        elif self._forked and seconds > KILL_AFTER_SECONDS and message.pid:
            _kill(message.pid, signals.SIGKILL)
        elif not self._forked and seconds > GIVE_UP_SECONDS:
            index = next(index for index, other in message.open.items() if other is request)
            del message.open[index]
            outcome = (
                self._timed_out(request, "ran longer than its timeout; a thread cannot be killed and was given up")
                if why == "timeout"
                else self._outcome_of_loss(request, Terminated())
            )
            self._end(request, outcome)

    def _limit_threads(self, now: float) -> None:
        """Threads have no time limits of their own."""
        if self._forked:
            return
        for message in self._messages:
            for request in message.open.values():
                hard, _ = request.limits() if message.place is None else (None, None)
                if hard is not None and message.pid and now - message.sent_at > hard:
                    self._stop(request, "timeout", 0)

    def _recall(self, message: Message) -> None:
        """Take back the jobs of a message that have not begun."""
        message.recalled = True
        self._board.stop(message.place or 0)
        timer = threading.Timer(SETTLED_SECONDS, self._recall_now, [message])
        timer.daemon = True
        timer.start()

    def _recall_now(self, message: Message) -> None:
        with self._lock:
            if message not in self._messages or message.place is None:
                return
            at = self._board.current(message.place)
            self.estimate.saw_blockage()
            for index in sorted(message.open):
                if at == NOT_BEGUN or index > at:
                    self._release(message.open.pop(index))

    def _release_waiting(self) -> None:
        while self._waiting:
            self._release(self._waiting.popleft())

    def _release(self, request: JobRequest) -> None:
        self._end(request, Outcome(id=request.id, token=request.claimed.token, outcome="release"))

    def forget(self, request: JobRequest) -> None:
        """The store gave the job to someone else: do not begin it."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
                request.ended()

    # The end.

    def close(self) -> None:
        """Begin no more jobs; give back those that have not begun."""
        with self._lock:
            self._closed = True
            self._pump()
            for message in list(self._messages):
                if message.place is not None and not message.recalled:
                    self._recall(message)

    def give_up(self) -> None:
        """The grace time is over: running jobs go back to the store, and their processes are killed."""
        with self._lock:
            for message in list(self._messages):
                if self._forked and message.pid:
                    _kill(message.pid, signals.SIGKILL)
                for index in sorted(message.open):
                    self._release(message.open.pop(index))


def _kill(pid: int, signal: int) -> None:
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        pass
