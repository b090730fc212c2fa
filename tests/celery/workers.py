"""Worker processes of Celery applications, as somebody starts them in a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from celery.concurrency.base import BasePool

from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from backroom.store import Store

__all__ = ["ROOT", "OwnPool", "Site", "Worker", "celery_environment"]

ROOT = Path(__file__).parents[2]
#: How long a worker may take to start or to end, in seconds.
WORKER_SECONDS = 60


def celery_environment(**more: str) -> dict[str, str]:
    """The environment of a program that knows nothing of this test run but what it is told."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BACKROOM_")}
    return {**ours, "C_FORCE_ROOT": "1", **more}


class OwnPool(BasePool):
    """A pool of somebody's own, which Celery would take."""


class Worker:
    """``celery worker`` in a process of its own; ended by its id."""

    def __init__(self, *options: str, environment: dict[str, str], app: str = "tests.celery.plain") -> None:
        self._printed: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", app, "worker", "--loglevel", "INFO", *options],
            cwd=ROOT,
            env=celery_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._printed.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def printed(self) -> str:
        """All it has printed so far."""
        return "".join(self._printed)

    def wait_for(self, words: str, within: float = WORKER_SECONDS) -> None:
        """Wait until it has printed the words."""
        with self._news:
            self._news.wait_for(lambda: words in self.printed or self._ended, within)
        assert words in self.printed, f"not printed within {within} s: {words!r}\n{self.printed}"

    def wait_until_ready(self) -> None:
        self.wait_for("ready.")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait. Returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.exit_code()

    def exit_code(self) -> int:
        """Wait until it has ended."""
        try:
            code = self.process.wait(WORKER_SECONDS)
        finally:
            self.process.kill()
            self._reader.join(PATIENCE)
            assert self.process.stdout is not None
            self.process.stdout.close()
        return code


@dataclass
class Site:
    """A job store with an application on it, and a worker that serves it."""

    #: The URL that the application was given twice.
    url: str
    app: Celery
    store: Store
    environment: dict[str, str]
    worker: Worker | None = None

    def listeners(self) -> int:
        """How many workers hear broadcasts of Celery's remote control."""
        redis = self.store.redis
        database = redis.connection_pool.connection_kwargs.get("db") or 0
        found = redis.pubsub_channels(f"*:fanout:{database}:celery.pidbox")
        return sum(number for _, number in redis.pubsub_numsub(*found)) if found else 0

    def wait_until_ready(self, worker: Worker, *, besides: int = 0) -> None:
        """Wait until it takes tasks and hears broadcasts, as so many others of the site do.

        A worker whose server is slow to let it subscribe is ready before that, and what nobody hears is lost.
        """
        worker.wait_until_ready()
        deadline = time.monotonic() + WORKER_SECONDS
        while self.listeners() <= besides:
            assert time.monotonic() < deadline, f"it does not listen after {WORKER_SECONDS} s\n{worker.printed}"
            time.sleep(0.01)

    @contextmanager
    def another_worker(self, *options: str, **environment: str) -> Iterator[Worker]:
        """One more worker for the time of a test."""
        others = self.listeners()
        worker = Worker(*options, environment={**self.environment, **environment})
        try:
            self.wait_until_ready(worker, besides=others)
            yield worker
        finally:
            worker.stop()
