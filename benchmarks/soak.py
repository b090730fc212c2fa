"""A soak: the whole stack under load while its parts are killed, frozen and cut off at random.

    python -m benchmarks.soak [--seconds 180] [--seed 1]

Jobs go in over HTTP all the time, now and then many that are due in the same millisecond, jobs of queues with a global
rate or concurrency limit, jobs that are cancelled, and jobs that kill the process which runs them; only those that were
answered with 202 count. Meanwhile, every few seconds, a worker or a pool child is killed, a worker is frozen for longer
than its lease, a worker or a scheduler is ended and started anew, Redis is killed and restarted, frozen or at its
memory limit, every connection is cut, or those of the API and of one worker are held up or break off in the middle, or
wake-up keys are deleted. At the end the trouble stops, everything is up, and every accepted job must come to its end.
Reported are jobs lost, jobs with more than one valid end, jobs that started before their time or were ready late,
limits that were exceeded, slots fired twice, and how often a job had to run again. Exit code 1 if a promise was broken.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from redis.exceptions import RedisError

from backroom.local.server import EmbeddedServer, HeldPort
from backroom.model.errors import BackroomError
from backroom.model.schedule import parse_schedule
from backroom.model.states import FINISHED, State
from backroom.settings import Settings
from backroom.store import Store, connect
from backroom.store.queues import Rate
from benchmarks.machine import describe_machine
from benchmarks.reckoning import Accepted, Reckoning, every_event
from tests.integration.faults.proxy import Proxy

ROOT = Path(__file__).parent.parent
LEASE_SECONDS = 3
#: Pauses between two troubles, and how long freezing lasts, in seconds.
PAUSE, FROZEN = (1.5, 4.0), (LEASE_SECONDS + 1.0, LEASE_SECONDS + 2.5)
#: How long everything may take to come to its end once the trouble has stopped, in seconds.
SETTLE_SECONDS = 120
SUBMITTERS = 3
#: While more jobs than this wait, nothing is submitted: what cannot be done within `SETTLE_SECONDS` proves nothing.
MOST_WAITING = 500
SLOT_MS = 1000
#: Queues with limits over all workers: starts in a window of so many ms, and jobs at once.
RATED, RATE, SINGLE = "soak-rated", Rate(5, 1000), "soak-single"
#: Its jobs kill the process that runs them. Threads are none: their worker leaves it alone.
POISON = "soak-poison"
#: Jobs that are due in the same millisecond, and how long before that they are submitted, in seconds.
BURST, BURST_AHEAD = 200, 2.0
#: What Redis may have at its memory limit: less than it always has.
LITTLE_MEMORY = "1mb"
#: What is not to be in the report.
NEVER = (
    "lost",
    "never run",
    "more than one valid end",
    "started early",
    "poison that did not fail",
    "failed that should not",
)


def _in_ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


class Part:
    """A process of the stack that can be killed, frozen, ended and started anew."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name, self._command, self._environment, self._log = name, command, environment, log
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

    def children(self) -> list[int]:
        """Pids of its direct children."""
        try:
            text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in text.split()]

    def again(self, number: signal.Signals) -> None:
        """End it by a signal and start it anew."""
        self.process.send_signal(number)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = self._start()

    def freeze(self, seconds: float) -> None:
        """Stop it for a while."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it for good."""
        self.process.terminate()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Soak:
    """One soak in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._random = folder, random.Random(seed)
        self.server = EmbeddedServer(folder / "redis")
        self.server.start()
        self._diary = folder / "diary"
        self._resources = ExitStack()
        self._proxy = self._resources.enter_context(Proxy(self.server.port))
        self._port = HeldPort()
        self._url = f"http://127.0.0.1:{(port := self._port.number)}"
        environment = {
            **os.environ,
            "BACKROOM_REDIS_URL": self.server.url,
            "BACKROOM_LEASE_SECONDS": str(LEASE_SECONDS),
            "BACKROOM_EVENTS_MAX": "1000000",
            "SOAK_DIARY": str(self._diary),
            "PYTHONWARNINGS": "ignore",
        }
        behind_proxy = {**environment, "BACKROOM_REDIS_URL": self._proxy.url}
        celery = [sys.executable, "-m", "celery", "-A", "benchmarks.soak_app"]

        def worker(number: int, pool: str, slots: int, *more: str, around: dict[str, str] = environment) -> Part:
            size = ["--pool", pool, "--concurrency", str(slots), "--hostname", f"worker-{number}@soak", *more]
            return Part(f"worker-{number}", [*celery, "worker", *size], around, folder / f"worker-{number}.log")

        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "services/api/gunicorn.conf.py"]
        bind = ["--bind", f"127.0.0.1:{port}", "services.api:create_app()"]
        self.api = Part("api", [*gunicorn, *bind], behind_proxy, folder / "api.log")
        self.workers = [
            worker(1, "prefork", 2),
            worker(2, "prefork", 2, around=behind_proxy),
            worker(3, "threads", 4, "--exclude-queues", POISON),
        ]
        beat = [*celery, "beat"]
        self.schedulers = [Part(f"scheduler-{n}", beat, environment, folder / f"scheduler-{n}.log") for n in (1, 2)]
        settings = Settings(redis_url=self.server.url, events_max=1_000_000)
        self.store = Store(connect(self.server.url, timeout=10), settings=settings)
        self.store.queues.set_limits(RATED, rate=RATE)
        self.store.queues.set_limits(SINGLE, concurrency=1)
        self.accepted: dict[str, Accepted] = {}
        self.refused = 0
        self.troubles: collections.Counter[str] = collections.Counter()
        self._over = threading.Event()

    def wait_until_up(self) -> None:
        """The API is ready and the workers offer their jobs."""
        self._patiently(lambda: requests.get(f"{self._url}/readyz", timeout=2).ok, 60)
        self._patiently(lambda: len(self.store.workers.list()) == len(self.workers), 60)

    def _patiently(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if done():
                    return
            except (requests.RequestException, BackroomError):
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s")
            time.sleep(0.1)

    # The load.

    def submit_all_the_time(self, seed: int) -> None:
        """Post jobs until the soak is over."""
        chance, session = random.Random(seed), requests.Session()
        while not self._over.is_set():
            if self._is_behind():
                self._over.wait(0.5)
                continue
            try:
                taken = self._submit_burst(session) if chance.random() < 0.002 else self._submit(session, chance)
            except requests.RequestException:
                taken = False
            if not taken:
                self.refused += 1
                self._over.wait(0.2)
            self._over.wait(chance.uniform(0, 0.05))

    def _submit(self, session: requests.Session, chance: random.Random) -> bool:
        """One job, which may be cancelled at once; whether it was taken. Raises `RequestException`."""
        queue = chance.choices(["default", RATED, SINGLE, POISON], [90, 4, 5, 1])[0]
        options: dict[str, Any] = {"priority": chance.choice([0, 0, 0, 1, 5])}
        if chance.random() < 0.3:
            options["delay"] = chance.randrange(50, 5000)
        if chance.random() < 0.2:
            options["backoff"] = chance.randrange(10, 1000)
        data = {"ms": chance.choice([0, 1, 5, 20]), "failures": 0, "busy": chance.random() < 0.1}
        if queue == "default":
            data["ms"] = chance.choice([0, 1, 5, 50, 300, 2000 if chance.random() < 0.2 else 20])
            data["failures"] = chance.choice([0, 0, 0, 1, 2])
        job = {"name": "soak-poison" if queue == POISON else "soak", "data": data, "options": options, "queue": queue}
        answer = session.post(f"{self._url}/v1/jobs", json=job, timeout=20)
        if answer.status_code != requests.codes.accepted:
            return False
        made = answer.json()
        due = None if made["runAt"] is None else _in_ms(datetime.fromisoformat(made["runAt"]))
        self.accepted[made["id"]] = Accepted(queue, due)
        if chance.random() < 0.03:
            session.post(f"{self._url}/v1/jobs/{made['id']}/cancel", timeout=20)
        return True

    def _submit_burst(self, session: requests.Session) -> bool:
        """Many jobs that are due in the same millisecond; whether they were taken. Raises `RequestException`."""
        due = datetime.now(UTC) + timedelta(seconds=BURST_AHEAD)
        job = {"name": "soak", "data": {"ms": 0}, "options": {"runAt": due.isoformat(timespec="milliseconds")}}
        answer = session.post(f"{self._url}/v1/jobs/bulk", json={"jobs": [job] * BURST}, timeout=20)
        if answer.status_code != requests.codes.accepted:
            return False
        for made in answer.json()["jobs"]:
            self.accepted[made["id"]] = Accepted("default", _in_ms(due))
        return True

    def _is_behind(self) -> bool:
        """Whether the workers have enough to do; unknown while the store is away."""
        try:
            return int(self.store.redis.zcard(self.store.keys.state("default", State.WAITING))) > MOST_WAITING
        except RedisError:
            return False

    # The trouble.

    def make_trouble(self) -> None:
        """One thing that goes wrong."""
        troubles: dict[str, Callable[[], None]] = {
            "kill worker": lambda: self._a_worker().again(signal.SIGKILL),
            "kill child": self._kill_child,
            "freeze worker": lambda: self._a_worker().freeze(self._random.uniform(*FROZEN)),
            "end worker": lambda: self._a_worker().again(signal.SIGTERM),
            "kill scheduler": lambda: self._random.choice(self.schedulers).again(signal.SIGKILL),
            "kill redis": lambda: self._for_a_while(self.server.kill, self.server.start, 0, 2),
            "freeze redis": lambda: self._for_a_while(self.server.pause, self.server.resume, 0.5, 5),
            "fill redis": lambda: self._for_a_while(self._memory(LITTLE_MEMORY), self._memory("0"), 0.5, 4),
            "cut connections": self._cut_connections,
            "stall connections": lambda: self._for_a_while(self._proxy.stall, self._proxy.flow, 0.5, 5),
            "halve connections": lambda: self._for_a_while(self._proxy.halve, self._proxy.heal, 0.1, 1),
            "lose wake-ups": lambda: self.store.redis.delete(self.store.keys.wake(), self.store.keys.wake("scheduler")),
        }
        kind = self._random.choice(list(troubles))
        self.troubles[kind] += 1
        troubles[kind]()

    def _a_worker(self) -> Part:
        return self._random.choice(self.workers)

    def _for_a_while(self, begin: Callable[[], object], end: Callable[[], object], least: float, most: float) -> None:
        begin()
        time.sleep(self._random.uniform(least, most))
        end()

    def _kill_child(self) -> None:
        if children := self._a_worker().children():
            os.kill(self._random.choice(children), signal.SIGKILL)

    def _memory(self, most: str) -> Callable[[], object]:
        return lambda: self.store.redis.config_set("maxmemory", most)

    def _cut_connections(self) -> None:
        for kind in ("NORMAL", "PUBSUB"):
            self.store.redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def run(self, seconds: float) -> None:
        """Load and trouble, then peace until every accepted job has come to its end."""
        tick = parse_schedule({"every": SLOT_MS, "job": {"name": "soak-tick", "data": {}}, "misfire": "all"})
        self.store.schedules.put("soak", tick)
        threads = [threading.Thread(target=self.submit_all_the_time, args=(n,)) for n in range(SUBMITTERS)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self._random.uniform(*PAUSE))
            try:
                self.make_trouble()
            except (BackroomError, RedisError):
                continue  # the trouble before is still going on
        self._over.set()
        for thread in threads:
            thread.join()
        with suppress(TimeoutError):  # what has not ended until now is lost, and the report says so
            self._patiently(self._all_ended, SETTLE_SECONDS)
        self.store.schedules.pause("soak")

    def _all_ended(self) -> bool:
        ids = list(self.accepted)
        for first in range(0, len(ids), 500):
            if any(
                state is not None and state not in FINISHED
                for state in self.store.inspection.states(ids[first : first + 500])
            ):
                return False
        return True

    def stop(self) -> None:
        """End everything."""
        for part in (self.api, *self.workers, *self.schedulers):
            part.stop()
        self._resources.close()
        self.server.stop()

    # The reckoning.

    def report(self) -> dict[str, Any]:
        """What was promised, and what happened."""
        states = dict(zip(self.accepted, self.store.inspection.states(list(self.accepted)), strict=True))
        counted = collections.Counter(str(state) for state in states.values())
        events = every_event(self.store.events)
        reckoning = Reckoning(events, self.accepted)
        runs: collections.Counter[str] = collections.Counter()
        for line in self._diary.read_text().splitlines():
            job_id, _, what = line.split()
            runs[job_id] += what == "begun"
        slowest = 0
        for job_id, job in self.accepted.items():
            record = self.store.inspection.record(job_id) or {}
            due = job.due_ms or int(record.get("created", 0))
            slowest = max(slowest, int(record.get("finished", due)) - due)
        late, latest = reckoning.ready_late()
        poison = [state for job_id, state in states.items() if self.accepted[job_id].queue == POISON]
        return {
            "accepted": len(self.accepted),
            "refused or unanswered": self.refused,
            "troubles": dict(self.troubles),
            "states": dict(counted),
            "lost": sum(1 for state in states.values() if state not in FINISHED),
            "never run": sum(1 for job_id, at in states.items() if at is not State.CANCELLED and not runs[job_id]),
            "more than one valid end": reckoning.ended_twice(),
            "started early": reckoning.started_early(),
            "ready late by 1 s or more": late,
            "latest ready, ms": latest,
            "most started in a window of five": reckoning.most_in_a_window(RATED, RATE.duration_ms),
            "most at once where one may": reckoning.most_at_once(SINGLE),
            "poison": len(poison),
            "poison that did not fail": sum(1 for at in poison if at not in {State.FAILED, State.CANCELLED}),
            "failed that should not": counted["failed"] - poison.count(State.FAILED),
            "runs beyond the tries": sum(runs.values()) - self._tries(),
            "slots fired": self.store.schedules.get("soak").fire_count,
            "jobs of slots": sum(1 for event in events if event.type == "added" and event.name == "soak-tick"),
            "slowest from due to end, ms": slowest,
        }

    def _tries(self) -> int:
        return sum(int((self.store.inspection.record(job_id) or {}).get("made", 0)) for job_id in self.accepted)


def main() -> None:
    """Soak, report, and say by the exit code whether a promise was broken."""
    parser = argparse.ArgumentParser(description="The stack under load and trouble.")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs")
    options = parser.parse_args()
    print(describe_machine(), flush=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(folder, options.seed)
    try:
        soak.wait_until_up()
        soak.run(options.seconds)
        report = soak.report()
    finally:
        soak.stop()
    print(json.dumps(report, indent=1))
    broken = [what for what in NEVER if report[what]]
    if report["slots fired"] != report["jobs of slots"]:
        broken.append("one job a slot")
    if report["most started in a window of five"] > RATE.max:
        broken.append("the rate limit")
    if report["most at once where one may"] > 1:
        broken.append("the concurrency limit")
    if broken:
        print(f"BROKEN: {', '.join(broken)}; seed {options.seed}, logs in {folder}")
        sys.exit(1)
    print("every promise kept")


if __name__ == "__main__":
    main()
