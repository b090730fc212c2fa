"""Makes running jobs end: those that were cancelled, run too long, or are no longer this worker's.

A job is asked first: an exception is raised in it, at once in a child of the prefork pool, at the next call to
`current_job` in a thread. So it can tidy up, and what it logged is not lost. If it does not end, its process is killed;
a thread cannot be killed and is given up.
"""

import os
import signal as signals
import time
from contextlib import suppress
from typing import Any

from celery.platforms import signals as celery_signals

from backroom.engine.board import Board
from backroom.engine.current import Wish
from backroom.engine.request import JobRequest, Message, Stop
from backroom.engine.running import STOP_SIGNAL, running_here

__all__ = ["Stopper", "kill"]

#: How long a job that was asked to end may take to do so, in seconds.
PATIENCE_SECONDS = 2.0


class Stopper:
    """The dispatcher's hand; called with the dispatcher's lock held."""

    def __init__(self, board: Board, *, forked: bool) -> None:
        self._board, self._forked = board, forked
        #: Running jobs that were asked to end.
        self._asked: set[JobRequest] = set()

    @staticmethod
    def cancellation(signal: Any = None) -> Stop:
        """Someone wants the job cancelled; with ``SIGKILL`` it is not asked."""
        at_once = signal is not None and celery_signals.signum(signal) == signals.SIGKILL
        return Stop("cancelled", at_once=at_once)

    @staticmethod
    def overtime() -> Stop:
        """The job has run too long."""
        return Stop("timeout")

    @staticmethod
    def loss() -> Stop:
        """The job is someone else's now."""
        return Stop("lost")

    def ask(self, request: JobRequest) -> None:
        """Ask a running job to end."""
        assert request.stop is not None
        request.stop.asked_at = time.monotonic()
        self._asked.add(request)
        self._say(request, Wish[request.stop.why.upper()])

    def forget(self, request: JobRequest) -> None:
        """The job has ended."""
        self._asked.discard(request)

    def press(self, now: float) -> list[JobRequest]:
        """Called several times a second: asks again, kills what does not listen. Returns the jobs to give up."""
        gone = []
        for request in list(self._asked):
            assert request.stop is not None
            assert request.stop.asked_at is not None
            late = request.stop.at_once or now - request.stop.asked_at > PATIENCE_SECONDS
            if not late:
                self._say(request, Wish[request.stop.why.upper()])
            elif not self._forked:
                gone.append(request)
            elif (
                request.sent_in is not None
                and request.sent_in.pid
                and self._board.runs(request.sent_in.place, request.index)
            ):
                kill(request.sent_in.pid)
        return gone

    def over_time(self, message: Message, now: float) -> bool:
        """Whether the one job of the message has run too long; reminds it of its soft limit."""
        hard, soft = message.limits
        ran = now - message.since
        if self._forked and soft is not None and ran > soft and not message.reminded:
            message.reminded = True
            (request,) = message.open.values()
            self._say(request, Wish.SOFT)
        return hard is not None and ran > hard

    def _say(self, request: JobRequest, wish: Wish) -> None:
        message = request.sent_in
        if not self._forked:
            # Again and again: its thread may have been about to begin.
            job = running_here.get((request.id, request.claimed.token))
            if job is not None:
                job.stop = wish
        elif message is not None and message.pid is not None and self._board.wish(message.place, request.index) != wish:
            self._board.ask(message.place, request.index, wish)
            _signal(message.pid, STOP_SIGNAL)


def kill(pid: int) -> None:
    """End a process; its end will be noticed."""
    _signal(pid, signals.SIGKILL)


def _signal(pid: int, signal: int) -> None:
    with suppress(ProcessLookupError):  # it has ended already
        os.kill(pid, signal)
