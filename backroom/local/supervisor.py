"""Keeps programs running: restarts one that ends, with growing pauses, and stops them all in good order.

One thread and one loop, which waits for output, for the end of a process, for a signal, or for the time of a restart.
"""

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Final, Self

from backroom.local.console import Console
from backroom.local.program import Program, Running

__all__ = ["Supervisor"]

FIRST_PAUSE_SECONDS: Final = 0.5
"""Before the first restart; each further one waits twice as long."""
LONGEST_PAUSE_SECONDS: Final = 30.0
"""The pause grows no further than this."""
STEADY_SECONDS: Final = 10.0
"""A process that has run this long is well again: the next restart waits the first pause."""
_LOOK_SECONDS: Final = 0.05
"""How often a condition that no event announces is looked at."""
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Post:
    """The place of one program: the process that fills it now, or the time when the next one will."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.running: Running | None = None
        self.due = 0.0
        self.pause = FIRST_PAUSE_SECONDS
        self.stopping = False

    @property
    def is_vacant(self) -> bool:
        """Whether it waits for a new process."""
        return self.running is None and not self.stopping


class Supervisor:
    """Runs programs until it is told to stop, by :meth:`request_stop` or by SIGINT, SIGTERM or SIGHUP.

    A context manager, for the main thread: inside it the signals are its own.
    """

    def __init__(self, console: Console) -> None:
        """Write what the programs say, and what becomes of them, to the console."""
        self._console = console
        self._posts: list[_Post] = []
        self._selector = selectors.DefaultSelector()
        self._bell, self._bell_push = os.pipe()
        self._requests = 0

    @property
    def stop_requested(self) -> bool:
        """Whether anybody has asked to stop."""
        return self._requests > 0

    def __enter__(self) -> Self:
        """Take over the signals."""
        for end in (self._bell, self._bell_push):
            os.set_blocking(end, False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._old_bell = signal.set_wakeup_fd(self._bell_push, warn_on_full_buffer=False)
        taken = [number for number in (*_STOPPING, signal.SIGCHLD) if not _is_left_alone(number)]
        self._old_handlers = {number: signal.signal(number, self._on_signal) for number in taken}
        return self

    def __exit__(self, *_error: object) -> None:
        """Kill what still runs, and give the signals back."""
        self.stop([post.program.name for post in self._posts], grace_seconds=0)
        signal.set_wakeup_fd(self._old_bell)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        self._selector.close()
        os.close(self._bell)
        os.close(self._bell_push)

    def start(self, program: Program) -> None:
        """Start a program, and keep it running from now on."""
        post = _Post(program)
        self._posts.append(post)
        self._fill(post)

    def pids(self) -> dict[str, int]:
        """Return the process ids of what runs now, by the programs' names."""
        return {post.program.name: post.running.pid for post in tuple(self._posts) if post.running is not None}

    def request_stop(self) -> None:
        """Ask to stop, from a signal handler or another thread. The second time: without waiting for anybody."""
        self._requests += 1
        with suppress(BlockingIOError):  # full of rings: it will be heard
            os.write(self._bell_push, b"\0")

    def run(self, until: Callable[[], bool] | None = None) -> bool:
        """Keep the programs running until a stop is requested, or until the condition holds.

        :param until: a condition, looked at every 50 ms.
        :returns: whether the condition was met; false if a stop was requested.
        """
        while not self.stop_requested:
            if until is not None and until():
                return True
            self._tend(_LOOK_SECONDS if until is not None else None)
        return False

    def stop(self, names: Iterable[str], grace_seconds: float) -> None:
        """Stop the named programs together, and return when they have ended; the others are kept running meanwhile.

        :param grace_seconds: how long they may take to finish; then, or at one more request to stop, they are killed.
        """
        wanted = set(names)
        posts = [post for post in self._posts if post.program.name in wanted]
        for post in posts:
            post.stopping = True
            if post.running is not None:
                post.running.ask_to_stop()
        requests, deadline = self._requests, time.monotonic() + grace_seconds
        while running := [post.running for post in posts if post.running is not None]:
            if self._requests > requests or time.monotonic() >= deadline:
                for process in running:
                    self._console.line(process.program.name, "did not stop in time, and is killed")
                    process.signal(signal.SIGKILL)
                requests, deadline = self._requests, float("inf")
            self._tend(min(deadline - time.monotonic(), 1.0))
        self._posts = [post for post in self._posts if not post.stopping]

    def _tend(self, seconds: float | None) -> None:
        """Wait for something to happen, at most this long; write output, notice ends, restart what is due."""
        now = time.monotonic()
        waits = [post.due - now for post in self._posts if post.is_vacant]
        self._wait(min(waits if seconds is None else [*waits, seconds], default=None))
        for post in self._reap():
            if not post.stopping:
                self._plan_restart(post)
        for post in self._posts:
            if post.is_vacant and post.due <= time.monotonic():
                try:
                    self._fill(post)
                except OSError as error:
                    self._console.line(post.program.name, f"could not be started: {error.strerror}")
                    self._plan_restart(post)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number in _STOPPING:
            self.request_stop()

    def _fill(self, post: _Post) -> None:
        post.running = Running(post.program)
        self._selector.register(post.running.output, selectors.EVENT_READ, post)

    def _wait(self, seconds: float | None) -> None:
        """Wait for output, a signal, the end of a process, or this long; write the output."""
        for key, _ in self._selector.select(None if seconds is None else max(seconds, 0)):
            if key.fd == self._bell:
                os.read(self._bell, 4096)
            else:
                self._write_lines(key.data)

    def _write_lines(self, post: _Post) -> None:
        assert post.running is not None
        for line in post.running.lines():
            self._console.line(post.program.name, line)
        if post.running.silent:
            self._ignore_output(post.running)
        if self._console.gone and not self.stop_requested:
            self.request_stop()

    def _ignore_output(self, process: Running) -> None:
        with suppress(KeyError):  # it was silent before
            self._selector.unregister(process.output)

    def _reap(self) -> list[_Post]:
        """Empty the posts whose process has ended, and return them."""
        ended = [post for post in self._posts if post.running is not None and post.running.ended()]
        for post in ended:
            assert post.running is not None
            self._write_lines(post)
            self._ignore_output(post.running)
            post.running.close()
            self._console.line(post.program.name, post.running.how_it_ended)
            if time.monotonic() - post.running.started >= STEADY_SECONDS:
                post.pause = FIRST_PAUSE_SECONDS
            post.running = None
        return ended

    def _plan_restart(self, post: _Post) -> None:
        self._console.line(post.program.name, f"starting it again in {post.pause:g} s")
        post.due = time.monotonic() + post.pause
        post.pause = min(post.pause * 2, LONGEST_PAUSE_SECONDS)


def _is_left_alone(number: signal.Signals) -> bool:
    """Tell whether who started this run wants it to outlive its terminal, as ``nohup`` does."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
