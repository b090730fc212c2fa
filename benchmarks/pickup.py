"""Pickup latency: from a submission to the start of the job, with idle workers.

    python -m benchmarks.pickup [--jobs 500]

One job at a time, submitted to the store; ``wait`` is what the store measured (ready to claimed, whole ms),
``round trip`` is from before the submission until the end of the job is heard over the event stream.
"""

import argparse
import tempfile
import time
from pathlib import Path

from backroom.local.server import EmbeddedServer
from backroom.model.job import new_job
from backroom.settings import Settings
from backroom.store import Store, connect
from benchmarks.contenders import DATA, Backroom, workers_of
from benchmarks.machine import describe_machine

PAUSE_SECONDS = 0.02


def measure(url: str, jobs: int) -> tuple[list[float], list[float]]:
    """Waits and round trips in ms."""
    store = Store(connect(url, timeout=10), settings=Settings(redis_url=url))
    waits, trips = [], []
    for _ in range(jobs):
        after, started = store.events.last_id(), time.perf_counter()
        job = new_job(name="noop", data=DATA)
        store.submission.submit([job])
        ended = False
        while not ended:
            found = store.events.read(after, block_ms=1000)
            after = found[-1].id if found else after
            ended = any(event.type == "completed" for event in found)
        trips.append((time.perf_counter() - started) * 1000)
        waits.append(float(store.inspection.get(job.id).wait_ms or 0))
        time.sleep(PAUSE_SECONDS)
    return waits, trips


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description="Pickup latency with idle workers.")
    parser.add_argument("--jobs", type=int, default=500)
    options = parser.parse_args()
    print(describe_machine())
    print(f"{'pool':8} {'measure':10} {'p50':>7} {'p95':>7} {'p99':>7} {'max':>7}  (ms)")
    for pool in ("threads", "prefork"):
        with (
            tempfile.TemporaryDirectory() as folder,
            EmbeddedServer(Path(folder), port=None) as server,
            workers_of(Backroom(server.url), pool, 2, 2),
        ):
            measure(server.url, 5)  # until they are there and warm
            waits, trips = measure(server.url, options.jobs)
        for name, values in (("wait", waits), ("round trip", trips)):
            values.sort()
            p50, p95, p99 = (values[int(len(values) * part)] for part in (0.50, 0.95, 0.99))
            print(f"{pool:8} {name:10} {p50:7.1f} {p95:7.1f} {p99:7.1f} {values[-1]:7.1f}", flush=True)


if __name__ == "__main__":
    main()
