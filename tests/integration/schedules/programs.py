"""Schedulers and workers as processes of their own, and how tests wait for what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from backroom.model.schedule import ScheduleSpec, parse_schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from backroom.store import Store

ROOT: Final = Path(__file__).parents[3]
#: What has not happened after so many seconds never will.
PATIENCE: Final = 60.0
STOP_SECONDS: Final = 60.0

T = TypeVar("T")


def eventually(look: Callable[[], T], *, until: Callable[[T], object] = bool, within: float = PATIENCE) -> T:
    """The first answer of ``look``, asked again and again, that is true (or that ``until`` says is right)."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if until(found):
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {within} s"
        time.sleep(0.02)


def server_ms(store: Store) -> int:
    """The time of the store, in ms since 1970."""
    seconds, micros = store.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def a_schedule(queue: str = "default", **fields: Any) -> ScheduleSpec:
    """A valid schedule, that makes up whatever a busy machine makes late."""
    return parse_schedule({"job": {"name": "noop", "queue": queue}, "misfire": "all"} | fields)


class Program:
    """A process. Its output goes to a file."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BACKROOM_")}
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "celery", *command],
                cwd=ROOT,
                env={**inherited, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text("utf-8", errors="replace")

    def until(self, ready: Callable[[], object]) -> None:
        """Wait until it is ready; fail with its log if it ends before."""
        eventually(lambda: ready() or self._process.poll() is not None)
        assert self._process.poll() is None, self.log

    def wait(self) -> int:
        """Wait until it has ended; its exit status."""
        return self._process.wait(STOP_SECONDS)

    def terminate(self) -> int:
        """Ask it to end with SIGTERM, and wait; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it as a crash does. Harmless if it has ended."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it stands."""
        self._process.send_signal(signal.SIGSTOP)


class Programs:
    """Starts processes on one store, and kills those that are left in the end."""

    def __init__(self, store: Store, url: str, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._environment = {"BACKROOM_REDIS_URL": url, "BACKROOM_KEY_PREFIX": store.keys.prefix}
        self._started: list[Program] = []

    def scheduler(self, *, app: str = "services.scheduler.app", ready: bool = True, **environment: str) -> Program:
        """A scheduler, once it does its rounds (unless it is not to be waited for)."""
        program = self._start("scheduler", ["-A", app, "beat", "--loglevel", "INFO"], environment)
        if ready:
            self.until_ready(program)
        return program

    def until_ready(self, *schedulers: Program) -> None:
        """Wait until schedulers do their rounds."""
        for program in schedulers:
            own = f"-{program.pid}"
            program.until(lambda own=own: any(name.endswith(own) for name in self._store.workers.scheduler_ticks()))

    def worker(self, *, app: str = "tests.integration.schedules.trial", concurrency: int = 4) -> Program:
        """A worker of threads that serves every queue, once it has reported and offers its jobs."""
        command = ["-A", app, "worker", "--pool", "threads", "--concurrency", str(concurrency), "--loglevel", "INFO"]
        program = self._start("worker", command, {})
        pid = program.pid
        program.until(lambda: self._store.job_types.list() and pid in [view.pid for view in self._store.workers.list()])
        return program

    def _start(self, kind: str, command: list[str], environment: dict[str, str]) -> Program:
        name = f"{kind}-{len(self._started)}"
        program = Program(name, command, {**self._environment, **environment}, self._folder)
        self._started.append(program)
        return program

    def end(self) -> None:
        """Kill those that are left."""
        for program in self._started:
            program.kill()
