"""How soon a job runs again after its worker, or the pool child that runs it, was killed.

    python -m benchmarks.recovery [--runs 10]

Two prefork workers with the default lease of 10 s, and a scheduler. A job that sleeps is started, its process is
killed, and the time until the job is started again is taken.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backroom.local.server import EmbeddedServer
from backroom.model.job import Job, new_job
from backroom.model.states import State
from backroom.settings import Settings
from backroom.store import Store, connect
from benchmarks.machine import describe_machine

ROOT = Path(__file__).parent.parent
LONGEST_SECONDS = 60


class Bench:
    """A store, a scheduler, and workers by name."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.store = Store(connect(server.url, timeout=10), settings=Settings(redis_url=server.url))
        self._environment = {**os.environ, "BACKROOM_REDIS_URL": server.url, "PYTHONWARNINGS": "ignore"}
        self._celery = [sys.executable, "-m", "celery", "-A", "benchmarks.soak_app"]
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._scheduler = self._start("beat")
        for name in ("one@recovery", "two@recovery"):
            self.start_worker(name)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._celery, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start_worker(self, name: str) -> None:
        """Start a worker and wait until it is there."""
        self.workers[name] = self._start("worker", "--pool", "prefork", "--concurrency", "1", "--hostname", name)
        _patiently(lambda: any(view.id == name for view in self.store.workers.list()))

    def run_sleeper(self) -> Job:
        """Submit a job that sleeps, and wait until it runs."""
        job = new_job(name="soak", data={"ms": 1500})
        self.store.submission.submit([job])
        _patiently(lambda: self.store.inspection.get(job.id).state is State.ACTIVE)
        time.sleep(0.3)  # so that it is inside the job, whatever the pool does first
        return self.store.inspection.get(job.id)

    def again_after(self, job: Job) -> float:
        """Seconds until the job runs again."""
        started = time.perf_counter()
        _patiently(lambda: self._runs_again(job.id))
        return time.perf_counter() - started

    def _runs_again(self, job_id: str) -> bool:
        job = self.store.inspection.get(job_id)
        return job.stalled > 0 and job.state in {State.ACTIVE, State.COMPLETED}

    def stop(self) -> None:
        """End everything."""
        for process in (self._scheduler, *self.workers.values()):
            process.terminate()
        for process in (self._scheduler, *self.workers.values()):
            process.wait(40)


def _patiently(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {LONGEST_SECONDS} s")
        time.sleep(0.005)


def _kill_worker(bench: Bench, job: Job) -> float:
    name = job.worker or ""
    bench.workers[name].kill()
    bench.workers[name].wait()
    seconds = bench.again_after(job)
    bench.start_worker(name)
    return seconds


def _kill_child(bench: Bench, job: Job) -> float:
    parent = bench.workers[job.worker or ""].pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    return bench.again_after(job)


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description="Recovery after SIGKILL.")
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    print(describe_machine())
    print(f"{'killed':12} {'median':>8} {'max':>8}  (s, lease 10 s)")
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder), port=None) as server:
        bench = Bench(server)
        try:
            for name, kill in (("pool child", _kill_child), ("worker", _kill_worker)):
                found = [kill(bench, bench.run_sleeper()) for _ in range(options.runs)]
                print(f"{name:12} {statistics.median(found):8.2f} {max(found):8.2f}", flush=True)
        finally:
            bench.stop()


if __name__ == "__main__":
    main()
