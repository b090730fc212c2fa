"""Timing: how late delayed jobs start, how schedules drift, and what looking after a million delayed jobs costs Redis.

Run ``python -m benchmarks.timing``. It takes some minutes and about 2 GB, on a server, a scheduler and a worker of its
own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from backroom.local.server import EmbeddedServer
from backroom.model.job import NewJob, format_time, new_job
from backroom.model.options import parse_options
from backroom.model.schedule import parse_schedule
from backroom.model.states import State
from backroom.store import Store, connect
from backroom.store.records import from_ms
from backroom.store.upkeep import PROMOTED_AT_ONCE
from benchmarks.contenders import Backroom, workers_of
from benchmarks.machine import describe_machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
#: Jobs are stored in calls of so many.
BULK = 1000
YEAR = 366 * 86_400_000


def now_ms(store: Store) -> int:
    seconds, micros = store.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def a_job(**options: Any) -> NewJob:
    return new_job(name="noop", queue="timing", data={}, options=parse_options(options))


@contextmanager
def program(url: str, *command: str) -> Iterator[psutil.Process]:
    """A Celery process, as services run it."""
    environment = {**os.environ, "BACKROOM_REDIS_URL": url, "BACKROOM_LOG_LEVEL": "ERROR"}
    words = [sys.executable, "-m", "celery", *command]
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def wait_until(ready: Any, *, within: float = 120) -> None:
    deadline = time.monotonic() + within
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit("it took too long")
        time.sleep(0.05)


def row(what: str, **numbers: object) -> None:
    print(f"{what:<44}", *(f"{name} {value}" for name, value in numbers.items()), sep="  ", flush=True)


def spread(values: Sequence[float]) -> dict[str, object]:
    """The usual figures, in ms."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "min": ordered[0],
        "p50": statistics.median(ordered),
        "p99": ordered[int(len(ordered) * 0.99)],
        "max": ordered[-1],
    }


def lateness(store: Store, *, rate: int, seconds: int) -> None:
    """From due to started, by the store's clock; one job each 1/rate s."""
    number, lead = rate * seconds, 4000
    first = now_ms(store) + lead
    due: dict[str, int] = {}
    for start in range(0, number, BULK):
        jobs = []
        for place in range(start, min(start + BULK, number)):
            at = first + place * 1000 // rate
            jobs.append(a_job(runAt=format_time(from_ms(at))))
            due[jobs[-1].id] = at
        store.submission.submit(jobs)
    if now_ms(store) > first:
        raise SystemExit("this machine is too slow to store the jobs before they are due")
    wait_until(lambda: store.queues.get("timing").counts[State.COMPLETED] == number)
    pipeline = store.redis.pipeline(transaction=False)
    for job_id in due:
        pipeline.hget(store.keys.job(job_id), "started")
    late = [int(started) - at for started, at in zip(pipeline.execute(), due.values(), strict=True)]
    row(f"lateness of delayed jobs at {rate}/s, ms", **spread(late), early=sum(one < 0 for one in late))


def drift(store: Store, *, seconds: int) -> None:
    """How late slots of ``every: 1000`` are fired, from the first to the last."""
    store.schedules.put("drift", parse_schedule({"every": 1000, "misfire": "all", "job": {"name": "noop"}}))
    fires: dict[int, int] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fires.update((fire["slot"], fire["at"]) for fire in store.schedules.get("drift").last_fires)
        time.sleep(1)
    store.schedules.remove("drift")
    slots = sorted(fires)
    missing = (slots[-1] - slots[0]) // 1000 + 1 - len(slots)
    late = [fires[slot] - slot for slot in slots]
    row(f"lateness of slots over {seconds} s, ms", **spread(late), missing=missing)
    off = (slots[-1] - slots[0]) % 1000
    row("drift of the grid, ms", first_late=late[0], last_late=late[-1], off_the_grid=off)


def burst(store: Store, *, number: int) -> None:
    """Many schedules of one slot: how late the last is fired."""
    slot = now_ms(store) + 6000 + 2 * number
    for place in range(number):
        rhythm = {"every": 3_600_000, "startDate": format_time(from_ms(slot)), "job": {"name": "noop"}}
        store.schedules.put(f"burst-{place}", parse_schedule(rhythm))
    if now_ms(store) > slot:
        raise SystemExit("this machine is too slow to store the schedules before they are due")
    wait_until(lambda: all(view.fire_count for view in store.schedules.list()))
    late = [view.last_fires[0]["at"] - slot for view in store.schedules.list()]
    row(f"lateness of {number} schedules of one slot, ms", **spread(late))
    for place in range(number):
        store.schedules.remove(f"burst-{place}")


def idle(store: Store, scheduler: psutil.Process, *, seconds: int) -> None:
    """What a scheduler with nothing to do costs."""
    store.redis.config_resetstat()
    cpu, start = sum(scheduler.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - start
    used = (sum(scheduler.cpu_times()[:2]) - cpu) / passed * 100
    scripts = store.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    row("a scheduler with nothing to do", scripts_a_second=round(scripts / passed, 1), cpu=f"{used:.2f} %")


def measured(store: Store, what: str, call: Any, *, times: int) -> None:
    """Time in Redis of one script, by its own statistics; the longest by the time a caller waits."""
    call()
    store.redis.config_resetstat()
    longest = 0.0
    for _ in range(times):
        start = time.perf_counter()
        call()
        longest = max(longest, time.perf_counter() - start)
    stats = store.redis.info("commandstats")["cmdstat_evalsha"]
    each = stats["usec"] / stats["calls"]
    row(what, calls=stats["calls"], us_a_call=f"{each:.0f}", longest_ms=f"{longest * 1000:.1f}")


def million(store: Store, *, number: int) -> None:
    """Promoting and sweeping with so many delayed jobs."""
    start = time.monotonic()
    for _ in range(0, number, BULK):
        store.submission.submit([a_job(delay=YEAR) for _ in range(BULK)])
    passed = time.monotonic() - start
    memory = store.redis.info("memory")["used_memory_human"]
    row(f"storing {number} delayed jobs", jobs_a_second=round(number / passed), memory=memory)
    measured(store, "promote, none due", store.upkeep.promote, times=1000)
    measured(store, "sweep, nothing to do", store.upkeep.sweep, times=200)
    taken, longest = [], 0.0
    for _ in range(50):
        store.submission.submit([a_job(delay=1) for _ in range(PROMOTED_AT_ONCE)])
        time.sleep(0.01)
        store.redis.config_resetstat()
        start = time.perf_counter()
        moved, _ = store.upkeep.promote()
        longest = max(longest, time.perf_counter() - start)
        taken.append(int(store.redis.info("commandstats")["cmdstat_evalsha"]["usec"]))
        if moved != PROMOTED_AT_ONCE:
            raise SystemExit("not all of them were due")
    row(
        f"promote, {PROMOTED_AT_ONCE} due",
        us_a_call=f"{statistics.mean(taken):.0f}",
        longest_ms=f"{longest * 1000:.1f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1000, help="delayed jobs due a second")
    parser.add_argument("--seconds", type=int, default=10, help="for how long they are due")
    parser.add_argument("--drift", type=int, default=60, help="how long the schedule is watched, in seconds")
    parser.add_argument(
        "--schedules", type=int, nargs="+", default=[500, 5000], help="schedules with the same slot, in turn"
    )
    parser.add_argument(
        "--jobs", type=int, default=1_000_000, help="delayed jobs that are kept while upkeep is measured"
    )
    wanted = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder), appendonly=False) as server:
        store = Store(connect(server.url, timeout=30))
        with program(server.url, "-A", "services.scheduler.app", "beat") as scheduler:
            wait_until(store.workers.scheduler_ticks)
            idle(store, scheduler, seconds=10)
            drift(store, seconds=wanted.drift)
            for number in wanted.schedules:
                burst(store, number=number)
            with workers_of(Backroom(server.url), "threads", 8, 1):
                wait_until(store.workers.list)
                lateness(store, rate=wanted.rate, seconds=wanted.seconds)
        store.redis.flushdb()
        million(store, number=wanted.jobs)


if __name__ == "__main__":
    main()
