"""What is measured: how to fill the queue, start workers and count what is done, for each contender."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import redis

from backroom.model.job import new_job
from backroom.settings import Settings
from backroom.store import Store, connect

__all__ = ["DATA", "Backroom", "Contender", "Stock", "workers_of"]

#: The data of every job: about 150 bytes as JSON, as BullMQ's users would send.
DATA: dict[str, Any] = {"userId": "u", "payload": {"a": 1, "b": "x" * 100}}
ROOT = Path(__file__).parent.parent
_STOP_SECONDS = 20


class Contender(Protocol):
    """One of those that are compared, on a Redis of its own."""

    name: str
    #: Whether its commands are inside scripts.
    scripted: bool

    def fill(self, jobs: int) -> None:
        """Submit no-op jobs while no worker runs."""

    def done(self) -> int:
        """How many jobs have ended."""

    def command(self, pool: str, concurrency: int, number: int) -> list[str]:
        """The command of a worker process."""

    def environment(self) -> dict[str, str]:
        """What its processes need in their environment."""


def _celery(app: str, pool: str, concurrency: int, number: int) -> list[str]:
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
    size = ["--pool", pool, "--concurrency", str(concurrency), "--hostname", f"worker-{number}@benchmark"]
    return [sys.executable, "-m", "celery", "--app", f"benchmarks.apps:{app}", "worker", *size, *quiet]


@dataclass(slots=True)
class Backroom:
    """This project."""

    url: str
    name: str = "Backroom"
    scripted: bool = True

    def _store(self) -> Store:
        return Store(connect(self.url, timeout=10), settings=Settings(redis_url=self.url))

    def fill(self, jobs: int) -> None:
        """In bulks of 1000."""
        store = self._store()
        for _ in range(jobs // 1000):
            store.submission.submit([new_job(name="noop", data=DATA) for _ in range(1000)])

    def done(self) -> int:
        """The jobs in the state completed."""
        return int(self._store().redis.zcard(self._store().keys.state("default", "completed")))

    def command(self, pool: str, concurrency: int, number: int) -> list[str]:
        """A Celery worker."""
        return _celery("backroom", pool, concurrency, number)

    def environment(self) -> dict[str, str]:
        """Its store."""
        return {"BACKROOM_REDIS_URL": self.url, "STOCK_URL": self.url}


@dataclass(slots=True)
class Stock:
    """Celery on its own Redis transport and result backend, tuned for short tasks."""

    url: str
    name: str = "stock Celery"
    scripted: bool = False
    filled: int = 0

    def fill(self, jobs: int) -> None:
        """Protocol-2 messages straight into its list: what `apply_async` would send, only sooner."""
        client = redis.Redis.from_url(self.url)
        for _ in range(jobs // 1000):
            client.lpush("default", *(_message() for _ in range(1000)))
        self.filled += jobs

    def done(self) -> int:
        """Neither waiting nor unacknowledged."""
        client = redis.Redis.from_url(self.url)
        return self.filled - int(client.llen("default")) - int(client.hlen("unacked"))  # type: ignore[arg-type]  # a blocking client

    def command(self, pool: str, concurrency: int, number: int) -> list[str]:
        """A Celery worker."""
        return _celery("stock", pool, concurrency, number)

    def environment(self) -> dict[str, str]:
        """Its broker."""
        return {"BACKROOM_REDIS_URL": self.url, "STOCK_URL": self.url}


def _message() -> str:
    task = str(uuid.uuid4())
    return json.dumps(
        {
            "body": json.dumps([[], DATA, {}]),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": "noop", "id": task, "root_id": task, "retries": 0},
            "properties": {
                "correlation_id": task,
                "delivery_tag": task,
                "body_encoding": "utf-8",
                "delivery_mode": 2,
                "priority": 0,
                "delivery_info": {"exchange": "", "routing_key": "default"},
            },
        }
    )


@contextmanager
def workers_of(contender: Contender, pool: str, concurrency: int, processes: int) -> Iterator[None]:
    """Worker processes of a contender, ended at the end."""
    environment = {**os.environ, **contender.environment()}
    started = [
        subprocess.Popen(
            contender.command(pool, concurrency, number),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(processes)
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
