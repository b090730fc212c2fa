"""Submissions over HTTP: Backroom's API against Express + BullMQ, with the same number of processes, in one run.

    python -m benchmarks.submit [--seconds 10] [--runs 3] [--processes 2] [--connections 32] [--only backroom]

Needs ``wrk``, and for the other side Node with npm (``benchmarks/peers/express-bullmq`` is installed on first use).
Every run has a fresh server with an append-only file (everysec) and no workers. Printed are medians: single submissions
a second with their latency, jobs a second in bulks of 100, and answers that were not 2xx, of which there should be
none.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import requests

from backroom.local.server import EmbeddedServer, HeldPort
from backroom.model.job_types import JobType
from backroom.settings import Settings
from backroom.store import Store, connect
from benchmarks.contenders import DATA, ROOT
from benchmarks.machine import describe_machine

PEER = ROOT / "benchmarks" / "peers" / "express-bullmq"
BULK = 100
START_SECONDS = 60
STOP_SECONDS = 20
#: What a worker would publish: both sides check the fields of a submission, Backroom the data as well.
NOOP = JobType(
    name="noop",
    queue="default",
    schema={
        "type": "object",
        "properties": {"userId": {"type": "string"}, "payload": {"type": "object"}},
        "required": ["userId", "payload"],
        "additionalProperties": False,
    },
)
#: wrk's script: one body for all requests.
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[%s]==]
"""
#: What comes at the end of every script: the figures on one line.
DONE = """
function done(summary, latency, requests)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("FIGURES %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), errors.status, broken))
end
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run of wrk showed; latencies in ms, processor time a request in µs."""

    requests_per_second: float
    p50: float
    p99: float
    refused: int
    broken: int
    api_micros: float = 0
    store_micros: float = 0


@contextmanager
def backroom(redis_port: int, port: int, processes: int) -> Iterator[psutil.Process]:
    """The API under gunicorn, as it is shipped."""
    url = f"redis://127.0.0.1:{redis_port}/0"
    store = Store(connect(url, timeout=10), settings=Settings(redis_url=url))
    store.job_types.publish("worker@benchmark", [NOOP], ttl_seconds=3600)
    command = [sys.executable, "-m", "gunicorn", "-c", "services/api/gunicorn.conf.py", "services.api:create_app()"]
    environment = {
        "BACKROOM_REDIS_URL": url,
        "BACKROOM_API_PROCESSES": str(processes),
        "BACKROOM_LOG_LEVEL": "WARNING",  # the other side logs no requests either
        "PORT": str(port),
    }
    ready = f"http://127.0.0.1:{port}/readyz"
    with _server(command, ROOT, environment, lambda: requests.get(ready, timeout=1).ok) as process:
        yield process


@contextmanager
def express(redis_port: int, port: int, processes: int) -> Iterator[psutil.Process]:
    """Express and BullMQ in a cluster of Node."""
    environment = {
        "NODE_ENV": "production",
        "PORT": str(port),
        "PROCESSES": str(processes),
        "REDIS_PORT": str(redis_port),
    }
    url = f"http://127.0.0.1:{port}/v1/jobs"
    ready = lambda: requests.get(url, timeout=1).status_code == 404  # noqa: E731
    with _server(["node", "server.js"], PEER, environment, ready) as process:
        yield process


CONTENDERS = {"backroom": backroom, "express": express}


@contextmanager
def _server(
    command: list[str], folder: Path, environment: dict[str, str], ready: Callable[[], bool]
) -> Iterator[psutil.Process]:
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(command)} does not start")
            time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _answers(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except requests.RequestException:
        return False


def load(url: str, body: Any, *, connections: int, seconds: int) -> Figures:
    """Have wrk post one body over and over."""
    script = SCRIPT % json.dumps(body, separators=(",", ":"))
    return run_wrk(url, script, connections=connections, seconds=seconds)


def run_wrk(url: str, script: str, *, connections: int, seconds: int) -> Figures:
    """Have wrk send what its ``script`` says."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script + DONE)
        file.flush()
        options = f"-t 1 -c {connections} -d {seconds} --timeout 10 -s".split()
        command = ["wrk", *options, file.name, url]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    found = re.search(r"FIGURES (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", printed)
    if found is None:
        sys.exit(f"wrk said something else:\n{printed}")
    count, micros, p50, p99, refused, broken = map(int, found.groups())
    return Figures(count / micros * 1e6, p50 / 1000, p99 / 1000, refused, broken)


def measure(name: str, options: argparse.Namespace, body: Any, path: str) -> Figures:
    """One run of one contender on a fresh server."""
    for_redis, for_api = HeldPort(), HeldPort()
    redis_port, port = for_redis.number, for_api.number
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder), port=redis_port) as server:
        url = f"http://127.0.0.1:{port}{path}"
        with CONTENDERS[name](redis_port, port, options.processes) as api:
            load(url, body, connections=options.connections, seconds=1)  # warm
            store = psutil.Process(server.pid)
            before = processor_seconds(api), processor_seconds(store)
            found = load(url, body, connections=options.connections, seconds=options.seconds)
            after = processor_seconds(api), processor_seconds(store)
    count = found.requests_per_second * options.seconds
    in_api, in_store = ((end - start) / count * 1e6 for start, end in zip(before, after, strict=True))
    return replace(found, api_micros=in_api, store_micros=in_store)


def processor_seconds(process: psutil.Process) -> float:
    """What the process and its children have used so far."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description="Submissions over HTTP, Backroom against Express + BullMQ.")
    parser.add_argument("--seconds", type=int, default=10, help="length of a run")
    parser.add_argument("--runs", type=int, default=3, help="runs of each")
    parser.add_argument("--processes", type=int, default=2, help="processes of each API")
    parser.add_argument("--connections", type=int, default=32, help="connections that post without a pause")
    parser.add_argument("--only", choices=CONTENDERS, help="leave the other one out")
    options = parser.parse_args()
    chosen = [options.only] if options.only else list(CONTENDERS)
    for program in ("wrk", *(("node", "npm") if "express" in chosen else ())):
        if shutil.which(program) is None:
            sys.exit(f"no {program} on PATH: install it, or leave a side out with --only")
    if "express" in chosen and not (PEER / "node_modules").exists():
        subprocess.run(["npm", "install", "--no-package-lock", "--ignore-scripts"], cwd=PEER, check=True)
    job = {"name": "noop", "data": DATA}
    kinds = (("single", job, "/v1/jobs", 1), (f"bulk of {BULK}", {"jobs": [job] * BULK}, "/v1/jobs/bulk", BULK))
    print(describe_machine())
    print(
        f"{'submission':12} {'contender':10} {'jobs/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'refused':>8} {'broken':>7} "
        f"{'µs API':>7} {'µs Redis':>9}  (each job)"
    )
    for kind, body, path, jobs in kinds:
        found: dict[str, list[Figures]] = {name: [] for name in chosen}
        for _ in range(options.runs):
            for name in chosen:  # in turns, so that both meet the same weather
                found[name].append(measure(name, options, body, path))
        for name, runs in found.items():
            rate, p50, p99, api, store = (
                statistics.median(getattr(run, what) for run in runs)
                for what in ("requests_per_second", "p50", "p99", "api_micros", "store_micros")
            )
            refused, broken = sum(run.refused for run in runs), sum(run.broken for run in runs)
            print(
                f"{kind:12} {name:10} {rate * jobs:8.0f} {p50:8.1f} {p99:8.1f} {refused:8} {broken:7} "
                f"{api / jobs:7.0f} {store / jobs:9.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
