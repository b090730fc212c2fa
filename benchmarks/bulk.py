"""Bulk actions: how long they take, how long their longest call holds Redis, and what a submission waits meanwhile.

    python -m benchmarks.bulk [--jobs 25000] [--others 175000]

``call`` is what one step took in Redis, by its own slow log; ``submit`` is what a caller waited who submitted a job
every 10 ms meanwhile. A machine that has other work to do shows in the longest ones.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

from backroom.local.server import EmbeddedServer
from backroom.model.job import new_job
from backroom.model.names import new_id
from backroom.model.options import parse_options
from backroom.model.states import State
from backroom.store import JobQuery, Store, connect
from backroom.store.bulk import BulkActionKind
from backroom.store.execution import Outcome, Served
from benchmarks.machine import describe_machine

__all__: list[str] = []

BULK = 1000
PACE_SECONDS = 0.01
#: One after the other on the same jobs, which must be in this state.
ACTIONS: tuple[tuple[BulkActionKind, State], ...] = (
    ("retry", State.FAILED),
    ("cancel", State.WAITING),
    ("retry", State.CANCELLED),
    ("cancel", State.WAITING),
    ("remove", State.CANCELLED),
)


def fill(store: Store, queue: str, number: int) -> None:
    """Failed jobs of several priorities, with tags, users and a backoff."""
    for first in range(0, number, BULK):
        jobs = [
            new_job(
                name="noop",
                queue=queue,
                data={"userId": f"user-{at % 997}", "text": "x" * 100},
                options=parse_options({"priority": at % 10, "attempts": 3, "backoff": 1000, "tags": ["benchmark"]}),
            )
            for at in range(first, min(first + BULK, number))
        ]
        store.submission.submit(jobs)
        token = new_id()
        claimed = store.execution.exchange(
            worker="fill", token=token, lease_ms=600_000, outcomes=[], room=BULK, served=Served([queue])
        ).claimed
        error = '{"type":"ValueError","message":"no","traceback":"...","attempt":1,"at":0}'
        outcomes = [Outcome(id=job.id, token=job.token, outcome="failed", error=error) for job in claimed]
        store.execution.exchange(
            worker="fill", token=new_id(), lease_ms=600_000, outcomes=outcomes, room=0, served=Served([queue])
        )


class Caller(threading.Thread):
    """Submits a job every 10 ms, and notes how long it waited for the answer."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._store = Store(connect(url, timeout=30))
        self._ended = threading.Event()
        self.waited: list[float] = []

    def run(self) -> None:
        while not self._ended.wait(PACE_SECONDS):
            start = time.perf_counter()
            self._store.submission.submit([new_job(name="noop", queue="caller", data={})])
            self.waited.append((time.perf_counter() - start) * 1000)

    def end(self) -> str:
        """Stop. Returns the median, the 99th percentile and the longest wait."""
        self._ended.set()
        self.join()
        return spread(self.waited)


def spread(values: list[float]) -> str:
    """p50 / p99 / max."""
    ordered = sorted(values) or [0.0]
    return " / ".join(f"{ordered[min(len(ordered) - 1, int(len(ordered) * part))]:.1f}" for part in (0.5, 0.99, 1))


def main() -> None:
    """Fill a store, act, and print a table."""
    parser = argparse.ArgumentParser(description="Bulk actions.")
    parser.add_argument("--jobs", type=int, default=25_000, help="jobs that are acted on")
    parser.add_argument("--others", type=int, default=175_000, help="jobs that are only there")
    wanted = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder), appendonly=True) as server:
        store = Store(connect(server.url, timeout=30))
        fill(store, "others", wanted.others)
        fill(store, "acted-on", wanted.jobs)
        caller = Caller(server.url)
        caller.start()
        time.sleep(5)
        print(f"a submission while nothing else happens, ms p50 / p99 / max: {caller.end()}")
        store.redis.config_set("slowlog-log-slower-than", 200)  # µs: else what scripts call fills it
        store.redis.config_set("slowlog-max-len", 100_000)
        print(f"{'action':8} {'jobs':>6} {'find s':>7} {'act s':>7} {'calls':>6} {'call ms':>18} {'submit ms':>18}")
        for action, state in ACTIONS:
            store.redis.slowlog_reset()
            caller = Caller(server.url)
            caller.start()
            begun = store.bulk.start(new_id(), action, JobQuery(queues=["acted-on"], states=[state]))
            start = time.perf_counter()
            store.bulk.find(begun.id, lambda: True)
            found = time.perf_counter()
            store.bulk.work(lambda: True)
            end = time.perf_counter()
            waited = caller.end()
            calls = [
                each["duration"] / 1000
                for each in store.redis.slowlog_get(100_000)
                if each["command"].startswith(b"EVALSHA") and begun.id.encode() in each["command"]
            ]
            done = store.bulk.get(begun.id)
            if done.succeeded != wanted.jobs:
                raise SystemExit(f"not all of them: {done}")
            print(
                f"{action:8} {done.succeeded:6} {found - start:7.2f} {end - found:7.2f} {len(calls):6} "
                f"{spread(calls):>18} {waited:>18}",
                flush=True,
            )


if __name__ == "__main__":
    main()
