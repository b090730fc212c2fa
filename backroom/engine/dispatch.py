"""Hands claimed jobs to the pool: one at a time, or several very short ones in a message."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from billiard.compat import setblocking

from backroom.engine import endings
from backroom.engine.board import NOT_BEGUN, SETTLED_SECONDS, Board
from backroom.engine.estimate import ShortJobs
from backroom.engine.request import JobRequest, Message
from backroom.engine.running import TIMEOUT_MESSAGE, Finished, read_record, run_jobs
from backroom.engine.stopping import Stopper, kill
from backroom.settings import Settings
from backroom.store.execution import Outcome

__all__ = ["Dispatcher"]

logger = logging.getLogger(__name__)

#: A job that has not begun this long after it was claimed, or behind others in its message, goes back to the store, in
#: seconds.
HELD_SECONDS = 0.25
#: The same for a message that no slot has accepted, in seconds: its slot exists and is free, so it takes only a moment.
UNACCEPTED_SECONDS = 1.0
#: The most work in one message to a pool slot, in seconds, and the most data, in bytes: more would not fit into a pipe.
MESSAGE_SECONDS = 0.02
MESSAGE_BYTES = 32 * 1024
#: How often the dispatcher looks after what waits and what does not end, in seconds.
TICK_SECONDS = 0.1


class Dispatcher:
    """Feeds the pool and hears what becomes of its jobs. Everything may be called from any thread.

    ``settle(request, outcome)`` is given every job that comes to an end here: an encoded outcome, or an `Outcome` when
    the pool could not say how it ended. ``abandon(request)`` is given those that the store gave to someone else
    meanwhile. ``feed(pump)`` calls `pump` where the pool may be fed: in the event loop for prefork. ``roomier()`` is
    called when there are more slots.
    """

    def __init__(
        self,
        *,
        pool: Any,
        board: Board,
        settings: Settings,
        forked: bool,
        settle: Callable[[JobRequest, Finished | Outcome], None],
        abandon: Callable[[JobRequest], None],
        feed: Callable[[Callable[[], None]], object],
        roomier: Callable[[], None],
    ) -> None:
        self._pool, self._board, self._settings, self._forked = pool, board, settings, forked
        self._settle, self._abandon, self._feed, self._roomier = settle, abandon, feed, roomier
        self._lock = threading.RLock()
        self._waiting: deque[JobRequest] = deque()
        self._messages: set[Message] = set()
        self._stopper = Stopper(board, forked=forked)
        self._pumping = self._suspended = self._closed = self._given_up = False
        self._slots_before, self._children_before = 0, set[int]()
        self._ended = threading.Event()
        self.estimate = ShortJobs()

    # Looking.

    @property
    def slots(self) -> int:
        """How many jobs the pool can run at once now; not those of threads that were given up and still run."""
        with self._lock:
            if self._suspended or self._closed:
                return 0
            return max(0, self._pool_slots() - self.held)

    @property
    def held(self) -> int:
        """How many slots are taken by what is not waited for any more: threads that were given up and still run."""
        with self._lock:
            return sum(not message.open for message in self._messages)

    def _pool_slots(self) -> int:
        if not self._forked:
            return int(self._pool.num_processes)
        pool = self._pool._pool  # noqa: SLF001 - the pool behind Celery's; None once it has stopped
        # A child that was killed is being replaced: only those that have said that they are up can take anything.
        return 0 if pool is None else min(int(pool._processes), len(pool._all_inqueues))  # noqa: SLF001 - the same

    def busy(self) -> list[JobRequest]:
        """The jobs that run."""
        with self._lock:
            return [request for message in self._messages if message.pid for request in self._run_by(message)]

    def _run_by(self, message: Message) -> list[JobRequest]:
        current = self._board.current(message.place)
        return [request for index, request in message.open.items() if index == current]

    # To the pool.

    def start(self) -> None:
        """Begin to look after what waits and what does not end."""
        threading.Thread(target=self._watch, name="backroom-warden", daemon=True).start()

    def add(self, requests: Sequence[JobRequest]) -> None:
        """Take claimed jobs and hand on what the pool has room for."""
        with self._lock:
            for request in requests:
                request.on_terminate, request.on_lost = self.terminate, self.lose
            self._waiting.extend(requests)
        self._poke()

    def _poke(self) -> None:
        if self._closed:
            self.pump()
        else:
            self._feed(self.pump)

    def pump(self) -> None:
        """Hand on what the pool has room for."""
        with self._lock:
            if self._pumping:  # whoever does it will find what there is now
                return
            self._pumping = True
        try:
            while (following := self._next_message()) is not None:
                self._send(*following)
        except BaseException:
            self._pumping = False
            raise

    def _next_message(self) -> tuple[Message, list[tuple[Any, ...]]] | None:
        with self._lock:
            if self._closed:
                self._release_waiting()
            slots = 0 if self._suspended else self._pool_slots()
            # A second message for each slot hides the time that the pipe takes, where jobs are shorter than that.
            most = 2 * slots if self._sharing else slots
            if not self._waiting or len(self._messages) >= most or self._board.full:
                self._pumping = False
                return None
            batch = self._next_batch(slots)
            limits = batch[0].limits() if len(batch) == 1 else (None, None)
            message = Message(self._board.take(), dict(enumerate(batch)), limits, since=time.monotonic())
            for index, request in message.open.items():
                request.sent_in, request.index = message, index
            self._messages.add(message)
            return message, [tuple(request.wire) for request in batch]

    @property
    def _sharing(self) -> bool:
        """Whether several jobs may travel in one message."""
        if not self.estimate.very_short:
            return False
        pool = self._pool._pool if self._forked else None  # noqa: SLF001 - the pool behind Celery's
        # A child that is to be replaced after so many tasks counts messages.
        return pool is None or not pool._maxtasksperchild  # noqa: SLF001 - the same

    def _next_batch(self, slots: int) -> list[JobRequest]:
        first = self._waiting.popleft()
        batch, size = [first], first.size
        if not self._sharing or not first.may_share():
            return batch
        fair = -(-(len(self._waiting) + 1) // slots)
        most = min(self._settings.message_batch, fair, max(1, int(MESSAGE_SECONDS / max(self.estimate.mean, 1e-5))))
        while len(batch) < most and self._waiting and self._waiting[0].may_share():
            size += self._waiting[0].size
            if size > MESSAGE_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    def _send(self, message: Message, wires: list[tuple[Any, ...]]) -> None:
        try:
            sent = self._pool.apply_async(
                run_jobs,
                args=(message.place, wires),
                accept_callback=lambda pid, _: self._on_accepted(message, pid),
                callback=lambda finished: self._on_finished(message, finished),
                error_callback=lambda error: self._on_lost(message, error),
            )
        except RuntimeError:  # the threads pool has shut down
            closed = True
        else:
            closed = self._forked and sent is None
        if closed:
            with self._lock:
                self._done(message)
                message.blocked = True
                self._put_back(message)

    # From the pool. What fails here must not leave a job behind that is never settled.

    def _on_accepted(self, message: Message, pid: int) -> None:
        with self._lock:
            message.pid, message.since = pid, time.monotonic()
            requests = list(message.open.values())
        for request in requests:
            request.accepted(pid)

    def _on_finished(self, message: Message, finished: Any) -> None:
        if not isinstance(finished, list):  # the pool wraps what it could not deliver
            self._on_lost(message, finished)
            return
        with self._lock:
            self._done(message)
            for index, ended in enumerate(finished):
                self._take_result(message, index, ended)
            self._put_back(message)
        self.pump()

    def _take_result(self, message: Message, index: int, ended: Finished) -> None:
        self.estimate.saw(ended.seconds)
        request = message.open.pop(index, None)
        if request is not None:
            self._end(request, ended)

    def _on_lost(self, message: Message, error: Any) -> None:
        """The child died, or could not send its answer."""
        exception = getattr(error, "exception", error)
        exception = getattr(exception, "exc", exception)
        with self._lock:
            self._salvage(message)
            current = self._board.current(message.place)
            if current == NOT_BEGUN:  # it may have died of what it was given
                current = 0
            begun = [message.open.pop(index) for index in sorted(message.open) if index <= current]
            self._done(message)
            for request in begun:
                self._end_lost(request, exception)
            self._put_back(message)
        self.pump()

    def _salvage(self, message: Message) -> None:
        """Take the results that the slot has left on the board, before it hands them back or because it never will."""
        for index, record in enumerate(self._board.records(message.place)):
            if index in message.open:
                self._take_result(message, index, read_record(record))

    def _end_lost(self, request: JobRequest, error: object) -> None:
        stop = request.stop
        if self._given_up:
            self._release(request)
        elif stop is None:
            self._end(request, endings.stalled(request, error))
        elif stop.why == "timeout":
            self._end_slowly(request)
        else:
            self._end(request, endings.cancelled(request, "cancelled while it ran; its process was ended"))

    def _end_slowly(self, request: JobRequest) -> None:
        """End a job whose outcome takes time to write: it may call the job's own code, and other servers."""
        request.over = True
        self._stopper.forget(request)

        def end() -> None:
            try:
                outcome = endings.timed_out(request)
            except Exception:
                logger.exception("the end of job %s could not be told to others", request.id)
                outcome = endings.stalled(request, TIMEOUT_MESSAGE)
            with self._lock:
                self._end(request, outcome)

        threading.Thread(target=end, name="backroom-ending", daemon=True).start()

    def _done(self, message: Message) -> None:
        """No slot has the message any more."""
        if message in self._messages:
            self._messages.discard(message)
            self._board.give_back(message.place)

    def _put_back(self, message: Message) -> None:
        """What has not begun of a message is next in line, or is no longer wanted."""
        unbegun = [message.open.pop(index) for index in sorted(message.open)]
        for request in reversed(unbegun):
            request.sent_in = None
            if request.stop is not None:
                self._end_stopped(request)
            elif message.blocked or self._closed:
                self._release(request)
            else:
                self._waiting.appendleft(request)

    def _end(self, request: JobRequest, outcome: Finished | Outcome) -> None:
        request.over = True
        self._stopper.forget(request)
        request.ended(outcome)
        self._settle(request, outcome)

    def _end_stopped(self, request: JobRequest) -> None:
        """A job that was stopped before it began, or that does not end by itself."""
        assert request.stop is not None
        if request.stop.why == "lost":
            request.over = True
            self._stopper.forget(request)
            request.ended()
            self._abandon(request)
        elif request.stop.why == "timeout":
            self._end_slowly(request)
        else:
            began = request.stop.asked_at is not None
            text = "cancelled while it ran; a thread cannot be killed and was given up" if began else "cancelled"
            self._end(request, endings.cancelled(request, text))

    def _release(self, request: JobRequest) -> None:
        self._end(request, endings.released(request))

    def _release_waiting(self) -> None:
        while self._waiting:
            self._release(self._waiting.popleft())

    # Stopping and taking back.

    def terminate(self, request: JobRequest, signal: Any = None) -> None:
        """Cancel a job: one that has not begun never does, a running one is made to end."""
        with self._lock:
            self._stop(request, self._stopper.cancellation(signal))

    def lose(self, request: JobRequest) -> None:
        """The store gave the job to someone else: do not begin it, and let it end if it runs."""
        with self._lock:
            self._stop(request, self._stopper.loss())

    def _stop(self, request: JobRequest, stop: Any) -> None:
        if request.over or request.stop is not None:
            return
        request.stop = stop
        if request.sent_in is None:
            if request in self._waiting:
                self._waiting.remove(request)
            self._end_stopped(request)
        elif self._begun(request):
            self._stopper.ask(request)
        else:
            self._recall(request.sent_in, blocked=False)

    def _begun(self, request: JobRequest) -> bool:
        assert request.sent_in is not None
        current = self._board.current(request.sent_in.place)
        return current != NOT_BEGUN and request.index <= current

    def _recall(self, message: Message, *, blocked: bool) -> None:
        """Take back the jobs of a message that have not begun, see `backroom.engine.board`."""
        message.blocked = message.blocked or blocked
        if message.recalled_at is None:
            self._board.stop(message.place)
            message.recalled_at = time.monotonic()

    def _take_back(self, message: Message) -> None:
        """The second half of `_recall`, `SETTLED_SECONDS` later."""
        begun = {index: request for index, request in message.open.items() if self._begun(request)}
        for index in begun:
            del message.open[index]
        self._put_back(message)
        message.open.update(begun)
        for request in begun.values():
            if request.stop is not None and request.stop.asked_at is None:
                self._stopper.ask(request)

    # The warden's thread.

    def _watch(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            try:
                self.tick()
            except Exception:
                logger.exception("the warden stumbled and goes on")

    def tick(self) -> None:
        """Called several times a second: gives back what waits too long, ends what does not end by itself."""
        now = time.monotonic()
        with self._lock:
            for message in list(self._messages):
                self._look_after(message, now)
            for request in self._stopper.press(now):
                self._give_up(request)
            if self._waiting and now - self._waiting[0].claimed_at > HELD_SECONDS:
                self.estimate.saw_blockage()
                self._release_waiting()
            # A child that is replaced between two looks leaves no gap to see here, but the desk may have seen one. The
            # children first: one that is there and not up yet is noticed by its slot.
            known, self._children_before = self._children_before, {process.pid for process in self._children()}
            before, self._slots_before = self._slots_before, self.slots
            more = self._slots_before > before or not self._children_before <= known
            waiting = bool(self._waiting)
        if waiting:
            self._poke()
        if more:
            self._roomier()
        if self._child_has_ended():
            self._feed(self._pool._pool.maintain_pool)  # noqa: SLF001 - the pool behind Celery's

    def _child_has_ended(self) -> bool:
        """Whether the pool has a dead child to bury.

        The pool is told of a death by a pipe that closes a moment before the process can be waited for. When it looks
        within that moment it finds nothing, and would not look again for five seconds.
        """
        return not self._suspended and any(_has_ended(process.pid) for process in self._children())

    def _children(self) -> tuple[Any, ...]:
        """The processes of the pool."""
        pool = self._pool._pool if self._forked else None  # noqa: SLF001 - the pool behind Celery's
        return () if pool is None else tuple(pool._pool)  # noqa: SLF001 - the same

    def _look_after(self, message: Message, now: float) -> None:
        if message.recalled_at is not None and now - message.recalled_at > SETTLED_SECONDS:
            self._take_back(message)
        held = UNACCEPTED_SECONDS if message.pid is None else HELD_SECONDS
        if now - message.since > held and any(not self._begun(request) for request in message.open.values()):
            if message.pid is not None:
                self.estimate.saw_blockage()
            self._recall(message, blocked=True)
        if message.pid is not None and now - message.since > HELD_SECONDS:
            self._salvage(message)  # what has ended does not wait for a long one behind it
        if message.pid is not None and len(message.open) == 1:
            (request,) = message.open.values()
            if self._stopper.over_time(message, now) and not request.over and request.stop is None:
                self._stop(request, self._stopper.overtime())

    def _give_up(self, request: JobRequest) -> None:
        """A thread cannot be killed: its job ends here, and what it still says is refused."""
        if request.sent_in is not None:
            request.sent_in.open.pop(request.index, None)
        self._end_stopped(request)

    # The event loop restarts, and the end.

    def suspend(self) -> None:
        """The pool is about to forget what no slot has accepted: take it back and send nothing until `resume`."""
        with self._lock:
            self._suspended = True
            waiting = [message for message in self._messages if message.pid is None]
            for message in waiting:
                self._board.stop(message.place)
        time.sleep(SETTLED_SECONDS)
        self._hear_all()
        with self._lock:
            for message in waiting:
                if message.pid is None and message in self._messages:
                    # Its place is not given back: the slot may still find the message in its pipe.
                    self._messages.discard(message)
                    self._put_back(message)

    def _hear_all(self) -> None:
        """Read what the children have said so far."""
        pool: Any = self._pool._pool if self._forked else None  # noqa: SLF001 - the pool behind Celery's
        for process in list(pool._pool) if pool is not None else ():  # noqa: SLF001 - the same
            reader = process.outq._reader  # noqa: SLF001 - the same
            while reader.poll(0):
                setblocking(reader, 1)
                try:
                    pool._result_handler.on_state_change(reader.recv())  # noqa: SLF001 - the same
                finally:
                    setblocking(reader, 0)

    def resume(self) -> None:
        """The event loop runs again."""
        self._suspended = False
        self.pump()
        self._roomier()

    def close(self) -> None:
        """Begin no more jobs; give back those that have not begun."""
        with self._lock:
            self._closed = True
            self._release_waiting()
            for message in self._messages:
                self._recall(message, blocked=True)
        time.sleep(SETTLED_SECONDS)
        with self._lock:
            for message in self._messages:
                self._take_back(message)

    def give_up(self) -> None:
        """Running jobs go back to the store, and their processes are killed; finished ones are settled all the same."""
        self.close()
        self.kill_all()
        time.sleep(SETTLED_SECONDS)
        with self._lock:
            for message in self._messages:
                self._salvage(message)
                for index in sorted(message.open):
                    self._release(message.open.pop(index))

    def kill_all(self) -> None:
        """Kill the pool's processes; what they run goes back to the store. Needs no lock, for signal handlers."""
        self._given_up = True
        for process in self._children():
            kill(process.pid)

    def end(self) -> None:
        """Everything is over."""
        self._ended.set()


def _has_ended(pid: int) -> bool:
    """Whether a child is dead and nobody has waited for it yet; this leaves it to others."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return False
    with suppress(ChildProcessError):  # somebody has
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return False
