"""A soak: the whole stack under load while its parts are killed, frozen and cut off at random.

    python -m benchmarks.soak [--seconds 180] [--seed 1]

Jobs go in over HTTP all the time; only those that were answered with 202 count. Meanwhile, every few seconds, a worker
or a pool child is killed, a worker is frozen for longer than its lease, a worker or a scheduler is ended and started
anew, Redis is killed and restarted or frozen, every connection is cut, or wake-up keys are deleted. At the end the
trouble stops, everything is up, and every accepted job must come to its end. Reported are jobs lost, jobs with more
than one valid end, jobs that started before their time, slots fired twice, and how often a job had to run again. Exit
code 1 if a promise was broken.
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
from contextlib import suppress
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
from benchmarks.machine import describe_machine

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
        celery = [sys.executable, "-m", "celery", "-A", "benchmarks.soak_app"]

        def worker(number: int, pool: str, slots: int) -> Part:
            size = ["--pool", pool, "--concurrency", str(slots), "--hostname", f"worker-{number}@soak"]
            return Part(f"worker-{number}", [*celery, "worker", *size], environment, folder / f"worker-{number}.log")

        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "services/api/gunicorn.conf.py"]
        bind = ["--bind", f"127.0.0.1:{port}", "services.api:create_app()"]
        self.api = Part("api", [*gunicorn, *bind], environment, folder / "api.log")
        self.workers = [worker(1, "prefork", 2), worker(2, "prefork", 2), worker(3, "threads", 4)]
        beat = [*celery, "beat"]
        self.schedulers = [Part(f"scheduler-{n}", beat, environment, folder / f"scheduler-{n}.log") for n in (1, 2)]
        settings = Settings(redis_url=self.server.url, events_max=1_000_000)
        self.store = Store(connect(self.server.url, timeout=10), settings=settings)
        self.accepted: dict[str, float] = {}
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
            options: dict[str, Any] = {"priority": chance.choice([0, 0, 0, 1, 5])}
            if chance.random() < 0.3:
                options["delay"] = chance.randrange(50, 5000)
            if chance.random() < 0.2:
                options["backoff"] = chance.randrange(10, 1000)
            data = {
                "ms": chance.choice([0, 1, 5, 50, 300, 2000 if chance.random() < 0.2 else 20]),
                "failures": chance.choice([0, 0, 0, 1, 2]),
                "busy": chance.random() < 0.1,
            }
            try:
                answer = session.post(
                    f"{self._url}/v1/jobs", json={"name": "soak", "data": data, "options": options}, timeout=20
                )
            except requests.RequestException:
                self.refused += 1
                continue
            if answer.status_code == requests.codes.accepted:
                self.accepted[answer.json()["id"]] = options.get("delay", 0)
            else:
                self.refused += 1
                self._over.wait(0.2)
            self._over.wait(chance.uniform(0, 0.05))

    def _is_behind(self) -> bool:
        """Whether the workers have enough to do; unknown while the store is away."""
        try:
            return int(self.store.redis.zcard(self.store.keys.state("default", State.WAITING))) > MOST_WAITING
        except RedisError:
            return False

    # The trouble.

    def make_trouble(self) -> None:
        """One thing that goes wrong."""
        chance = self._random
        kind = chance.choice(
            ["kill worker", "kill child", "freeze worker", "end worker", "kill scheduler", "kill redis", "freeze redis",
             "cut connections", "lose wake-ups"]
        )  # fmt: skip
        self.troubles[kind] += 1
        worker = chance.choice(self.workers)
        if kind == "kill worker":
            worker.again(signal.SIGKILL)
        elif kind == "kill child":
            if children := worker.children():
                os.kill(chance.choice(children), signal.SIGKILL)
        elif kind == "freeze worker":
            worker.freeze(chance.uniform(*FROZEN))
        elif kind == "end worker":
            worker.again(signal.SIGTERM)
        elif kind == "kill scheduler":
            chance.choice(self.schedulers).again(signal.SIGKILL)
        elif kind == "kill redis":
            self.server.kill()
            time.sleep(chance.uniform(0, 2))
            self.server.start()
        elif kind == "freeze redis":
            self.server.pause()
            time.sleep(chance.uniform(0.5, 5))
            self.server.resume()
        elif kind == "cut connections":
            self.store.redis.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
            self.store.redis.execute_command("CLIENT", "KILL", "TYPE", "PUBSUB", "SKIPME", "yes")
        else:
            self.store.redis.delete(self.store.keys.wake(), self.store.keys.wake("scheduler"))

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
            except BackroomError:
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
        self.server.stop()

    # The reckoning.

    def report(self) -> dict[str, Any]:
        """What was promised, and what happened."""
        states = collections.Counter(str(state) for state in self.store.inspection.states(list(self.accepted)))
        ends: collections.Counter[str] = collections.Counter()
        early = 0
        after = "0-0"
        while events := self.store.events.read(after, count=5000):
            after = events[-1].id
            ends.update(event.job_id for event in events if event.type in FINISHED and event.job_id in self.accepted)
        runs: collections.Counter[str] = collections.Counter()
        for line in self._diary.read_text().splitlines():
            job_id, _, what = line.split()
            runs[job_id] += what == "begun"
        slowest = 0.0
        for job_id, delay in self.accepted.items():
            record = self.store.inspection.record(job_id)
            if record is None:
                continue
            due = int(record["created"]) + delay
            early += delay > 0 and int(record.get("started", due)) < due
            slowest = max(slowest, int(record.get("finished", due)) - due)
        history = self.store.schedules.get("soak")
        never_run = sum(1 for job_id in self.accepted if not runs[job_id])
        return {
            "accepted": len(self.accepted),
            "refused or unanswered": self.refused,
            "troubles": dict(self.troubles),
            "states": dict(states),
            "lost": states["None"] + sum(n for state, n in states.items() if state not in {*FINISHED, "None"}),
            "never run": never_run,
            "not completed": sum(n for state, n in states.items() if state != "completed"),
            "more than one valid end": sum(1 for job_id in self.accepted if ends[job_id] > 1),
            "started early": early,
            "runs beyond the tries": sum(runs.values()) - self._tries(),
            "slots fired": history.fire_count,
            "jobs of slots": len(self._added("soak-tick")),
            "slowest from due to end, ms": round(slowest),
        }

    def _added(self, name: str) -> list[Any]:
        found, after = [], "0-0"
        while events := self.store.events.read(after, count=5000):
            after = events[-1].id
            found += [event for event in events if event.type == "added" and event.name == name]
        return found

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
    broken = [what for what in ("lost", "never run", "more than one valid end", "started early") if report[what]]
    if report["slots fired"] != report["jobs of slots"]:
        broken.append("one job a slot")
    if broken:
        print(f"BROKEN: {', '.join(broken)}; seed {options.seed}, logs in {folder}")
        sys.exit(1)
    print("every promise kept")


if __name__ == "__main__":
    main()
