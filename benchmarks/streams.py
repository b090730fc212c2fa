"""Open event streams: what they cost submissions, how late events arrive in them, and whether any is missed.

    python -m benchmarks.streams [--seconds 5] [--runs 3] [--open 1 100 300] [--rate 200]

Needs ``wrk``. Three kinds of streams, all held by one client process: of everything, of one queue of a hundred each, of
one job each. Submissions go to the hundred queues in turn: first by wrk, without a pause, then by a client that submits
at a steady rate, while the jobs that are followed are cancelled one after the other. Every run has a fresh server with
an append-only file (everysec) and no workers, and does all that without streams first: then with them, right after.

Printed are medians: submissions a second with their latency, the processor time of the API for each, the latency at the
steady rate; how long events took from the store into the streams, in whole ms (the oldest of each read); and events
that did not arrive, of which there should be none. Redis, the API, wrk and the client that listens share the machine.
"""

import argparse
import http.client
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from backroom.local.server import EmbeddedServer, HeldPort
from backroom.model.job import new_job
from backroom.model.options import parse_options
from backroom.settings import Settings
from backroom.store import Store, connect
from benchmarks.contenders import DATA, ROOT
from benchmarks.listening import percentiles
from benchmarks.machine import describe_machine
from benchmarks.submit import backroom, processor_seconds, run_wrk

__all__: list[str] = []

QUEUES: Final = [f"queue-{number}" for number in range(100)]
KINDS: Final = ("everything", "queue", "job")
PARTS: Final = ("p50", "p99")
#: Threads of the client with a steady rate.
SENDERS: Final = 4
SETTLED_SECONDS: Final = 30
REST_SECONDS: Final = 0.5
#: wrk's script: one job for each queue, in turn.
SCRIPT: Final = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local bodies, at = {}, 0
for queue = 0, 99 do bodies[queue] = ([==[%s]==]):gsub("QUEUE", "queue-" .. queue) end
function request()
  at = (at + 1) %% 100
  return wrk.format(nil, nil, nil, bodies[at])
end
"""


@dataclass(frozen=True, slots=True)
class Part:
    """What submissions showed, without streams or with them; latencies in ms, processor time of the API in µs."""

    per_second: float
    p50: float
    p99: float
    api_micros: float
    #: At the steady rate.
    steady_p50: float
    steady_p99: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run showed; delays of events in ms."""

    alone: Part
    beside: Part
    late_p50: float
    late_p99: float
    steady_late_p50: float
    steady_late_p99: float
    missed: int
    resets: int


class Listeners:
    """The process that holds the streams."""

    def __init__(self, port: int, paths: Sequence[str], event: str) -> None:
        command = [sys.executable, "-m", "benchmarks.listening", str(port), event]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say("\n".join([*paths, ""]))

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def report(self) -> dict[str, Any]:
        """What they have heard so far."""
        found: dict[str, Any] = json.loads(self._say("report"))
        return found

    def settled(self, expected: Sequence[int]) -> dict[str, Any]:
        """What they have heard once it is what was expected, or no more will come."""
        deadline = time.monotonic() + SETTLED_SECONDS
        first = found = self.report()
        while found["heard"] != list(expected) and time.monotonic() < deadline:
            time.sleep(0.2)
            found = self.report()
        return {**found, "delays": first["delays"]}

    def close(self) -> None:
        """Close them all."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(SETTLED_SECONDS)


def send_steadily(port: int, requests: Sequence[tuple[str, str]], rate: float) -> list[float]:
    """Post (path, body) at a steady rate. Returns how long each took to be answered, in ms."""
    numbers, took = itertools.count(), [0.0] * len(requests)
    start = time.perf_counter()

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (number := next(numbers)) < len(requests):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            path, body = requests[number]
            began = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            took[number] = (time.perf_counter() - began) * 1000
            if answer.status not in {200, 202}:
                sys.exit(f"{path}: {answer.status}")

    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return took


def a_job(queue: str) -> str:
    """The body of a submission."""
    return json.dumps({"name": "noop", "queue": queue, "data": DATA}, separators=(",", ":"))


@contextmanager
def streams_of(kind: str, number: int, port: int, store: Store) -> Iterator[tuple[Listeners, list[str]]]:
    """Open so many streams of a kind. Yields who listens, and the jobs that are followed."""
    followed: list[str] = []
    match kind:
        case "everything":
            paths = ["/v1/events"] * number
        case "queue":
            paths = [f"/v1/events?queue={QUEUES[place % len(QUEUES)]}" for place in range(number)]
        case _:
            jobs = [
                new_job(name="noop", queue="followed", data=DATA, options=parse_options({"delay": 3_600_000}))
                for _ in range(number)
            ]
            followed = [job.id for job in store.submission.submit(jobs)] if jobs else []
            paths = [f"/v1/jobs/{job_id}/events" for job_id in followed]
    listeners = Listeners(port, paths, "cancelled" if kind == "job" else "added")
    try:
        yield listeners, followed
    finally:
        listeners.close()


def counted(store: Store) -> dict[str, int]:
    """How many jobs each queue has."""
    return {view.name: sum(view.counts.values()) for view in store.queues.list()}


def counted_at_rest(store: Store) -> dict[str, int]:
    """The same, once what wrk had under way when it ended is stored."""
    count = counted(store)
    while True:
        time.sleep(REST_SECONDS)
        before, count = count, counted(store)
        if count == before:
            return count


@dataclass(slots=True)
class Load:
    """Submits to one API: without a pause, and at a steady rate."""

    api: psutil.Process
    port: int
    options: argparse.Namespace

    def hard(self, seconds: int) -> tuple[float, float, float, float]:
        """Submissions a second, their p50 and p99, and the processor time of each."""
        url = f"http://127.0.0.1:{self.port}/v1/jobs"
        used = processor_seconds(self.api)
        found = run_wrk(url, SCRIPT % a_job("QUEUE"), connections=self.options.connections, seconds=seconds)
        used = processor_seconds(self.api) - used
        return found.requests_per_second, found.p50, found.p99, used / (found.requests_per_second * seconds) * 1e6

    def steady(self, cancelled: Sequence[str] = ()) -> tuple[float, float]:
        """The p50 and p99 of submissions, while these jobs are cancelled one after the other."""
        number = int(self.options.rate * self.options.seconds)
        requests = [("/v1/jobs", a_job(QUEUES[place % len(QUEUES)])) for place in range(number)]
        for place, job_id in enumerate(cancelled):
            requests.insert(place * number // len(cancelled), (f"/v1/jobs/{job_id}/cancel", ""))
        p50, p99, _ = percentiles(send_steadily(self.port, requests, self.options.rate))
        return p50, p99


def measure(kind: str, number: int, options: argparse.Namespace) -> Figures:
    """One run, first without and then with so many streams of a kind."""
    for_redis, for_api = HeldPort(), HeldPort()
    redis_port, port = for_redis.number, for_api.number
    url = f"redis://127.0.0.1:{redis_port}/0"
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServer(Path(folder), port=redis_port),
        backroom(redis_port, port, options.processes) as api,
    ):
        store = Store(connect(url, timeout=10), settings=Settings(redis_url=url))
        load = Load(api, port, options)
        load.hard(1)  # warm
        alone = Part(*load.hard(options.seconds), *load.steady())
        before = counted_at_rest(store)
        with streams_of(kind, number, port, store) as (listeners, followed):

            def expected() -> list[int]:
                now = counted(store)
                new = {queue: count - before.get(queue, 0) for queue, count in now.items() if queue != "followed"}
                if kind == "everything":
                    return [sum(new.values())] * number
                return [new[QUEUES[place % len(QUEUES)]] for place in range(number)]

            listeners.report()
            hard = load.hard(options.seconds)
            counted_at_rest(store)
            busy = listeners.settled([0] * number if kind == "job" else expected())
            beside = Part(*hard, *load.steady(followed))
            wanted = [1] * number if kind == "job" else expected()
            calm = listeners.settled(wanted)
    return Figures(
        alone=alone,
        beside=beside,
        late_p50=busy["delays"][0],
        late_p99=busy["delays"][1],
        steady_late_p50=calm["delays"][0],
        steady_late_p99=calm["delays"][1],
        missed=sum(max(0, want - heard) for want, heard in zip(wanted, calm["heard"], strict=True)),
        resets=calm["resets"],
    )


def main() -> None:
    """Run everything in turns, and print a table."""
    parser = argparse.ArgumentParser(description="What open event streams cost submissions.")
    parser.add_argument("--seconds", type=int, default=5, help="length of each of the two parts of a run")
    parser.add_argument("--runs", type=int, default=3, help="runs of each")
    parser.add_argument("--open", type=int, nargs="+", default=[1, 100, 300], help="numbers of streams")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of streams")
    parser.add_argument("--rate", type=float, default=200, help="submissions a second at the steady rate")
    parser.add_argument("--processes", type=int, default=2, help="processes of the API")
    parser.add_argument("--connections", type=int, default=32, help="connections of wrk")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("no wrk on PATH")
    configurations = [(kind, number) for kind in options.kinds for number in options.open]
    found: dict[tuple[str, int], list[Figures]] = {each: [] for each in configurations}
    print(describe_machine())
    for _ in range(options.runs):
        for each in configurations:  # in turns, so that all meet the same weather
            found[each].append(measure(*each, options))
    print(
        f"{'':15} | {'without streams':^30} | {'with them':^30} | {f'at {options.rate:.0f}/s':^23} | {'events':^39}\n"
        f"{'streams':10} {'open':>4} | {'jobs/s':>8} {'p50':>6} {'p99':>6} {'µs API':>7} "
        f"| {'jobs/s':>8} {'p50':>6} {'p99':>6} {'µs API':>7} | {'p50 p99':>11} {'with them':>11} "
        f"| {'p50 p99':>9} {'steady':>9} {'missed':>8} {'resets':>10}"
    )
    for (kind, number), runs in found.items():
        alone, beside = (middle([getattr(run, part) for run in runs]) for part in ("alone", "beside"))
        late, steady = (
            "{:.0f} {:.0f}".format(
                *(statistics.median(getattr(run, f"{which}_{part}") for run in runs) for part in PARTS)
            )
            for which in ("late", "steady_late")
        )
        print(
            f"{kind:10} {number:4} | {alone.per_second:8.0f} {alone.p50:6.1f} {alone.p99:6.0f} {alone.api_micros:7.0f} "
            f"| {beside.per_second:8.0f} {beside.p50:6.1f} {beside.p99:6.0f} {beside.api_micros:7.0f} "
            f"| {alone.steady_p50:5.1f} {alone.steady_p99:5.1f} {beside.steady_p50:5.1f} {beside.steady_p99:5.1f} "
            f"| {late:>9} {steady:>9} {sum(run.missed for run in runs):8} {sum(run.resets for run in runs):10}",
            flush=True,
        )


def middle(parts: Sequence[Part]) -> Part:
    """The medians of several runs."""
    return Part(*(statistics.median(getattr(part, name) for part in parts) for name in Part.__dataclass_fields__))


if __name__ == "__main__":
    main()
