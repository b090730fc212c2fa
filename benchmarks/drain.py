"""Drain rate of no-op jobs: Backroom against stock Celery, in one run.

    python -m benchmarks.drain [--jobs 20000] [--runs 3]

For each configuration the queue is filled while no worker runs; then the time between 5 % and 97 % done is taken, so
that starting up is left out. Each run has a fresh server with an append-only file (everysec). Printed are the median
rate, the rate relative to stock Celery with the same pool, and what a job costs Redis: calls over the network, commands
(those inside scripts count too), and microseconds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis

from backroom.local.server import EmbeddedServer
from benchmarks.contenders import Backroom, Contender, Stock, workers_of
from benchmarks.machine import describe_machine

#: Pool, slots of a worker process, worker processes.
CONFIGURATIONS = (("threads", 1, 1), ("prefork", 2, 1), ("threads", 1, 2))
FIRST, LAST = 0.05, 0.97
#: A run that takes longer than this is given up.
LONGEST_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run showed."""

    jobs_per_second: float
    calls_per_job: float
    commands_per_job: float
    redis_micros_per_job: float


def measure(contender: Contender, url: str, *, pool: str, slots: int, processes: int, jobs: int) -> Figures:
    """Drain ``jobs`` jobs once."""
    client = redis.Redis.from_url(url, decode_responses=True)
    contender.fill(jobs)
    with workers_of(contender, pool, slots, processes):
        _wait(lambda: contender.done() >= jobs * FIRST)
        client.config_resetstat()
        first, started = contender.done(), time.perf_counter()
        _wait(lambda: contender.done() >= jobs * LAST)
        last, seconds = contender.done(), time.perf_counter() - started
        stats = client.info("commandstats")
    drained = last - first
    commands = sum(row["calls"] for row in stats.values())
    # Backroom's commands are inside scripts, whose time contains theirs; stock Celery's are calls of their own.
    scripts = [row for name, row in stats.items() if name == "cmdstat_evalsha"]
    counted = scripts if contender.scripted else list(stats.values())
    calls, micros = (sum(row[what] for row in counted) for what in ("calls", "usec"))
    return Figures(drained / seconds, calls / drained, commands / drained, micros / drained)


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done within {LONGEST_SECONDS} s")
        time.sleep(0.02)


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description="Drain rate of no-op jobs, Backroom against stock Celery.")
    parser.add_argument(
        "--jobs", type=int, default=20_000, help="jobs in a run (thousands; stock Celery drains a quarter)"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each configuration")
    options = parser.parse_args()
    print(describe_machine())
    heads = f"{'pool':8} {'slots':>5} {'procs':>5}  {'contender':13} {'jobs/s':>7} {'x stock':>8}"
    print(f"{heads} {'calls':>6} {'cmds':>6} {'µs Redis':>9}")
    for pool, slots, processes in CONFIGURATIONS:
        rates: dict[str, float] = {}
        for make, share in ((Stock, 4), (Backroom, 1)):
            found = []
            for _ in range(options.runs):
                with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder), port=None) as server:
                    contender = make(server.url)
                    jobs = max(1000, options.jobs // share // 1000 * 1000)
                    found.append(measure(contender, server.url, pool=pool, slots=slots, processes=processes, jobs=jobs))
            rates[contender.name] = statistics.median(each.jobs_per_second for each in found)
            middle = min(found, key=lambda each: abs(each.jobs_per_second - rates[contender.name]))
            times = rates[contender.name] / rates["stock Celery"]
            print(
                f"{pool:8} {slots:5} {processes:5}  {contender.name:13} {middle.jobs_per_second:7.0f} {times:7.1f}x "
                f"{middle.calls_per_job:6.2f} {middle.commands_per_job:6.1f} {middle.redis_micros_per_job:9.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
