"""``python -m backroom.local`` as a test sees it: a process, what it prints, what it answers over HTTP."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import requests

from backroom.local.server import HeldPort

ROOT = Path(__file__).parents[3]
UP = "Backroom is up"
START_SECONDS = 90


class Run:
    """A run of the stack with a port and a data folder of its own; ended and cleared away by `end`."""

    def __init__(
        self, data_dir: Path, *, command: Sequence[str] = (sys.executable, "-m", "backroom.local"), **settings: str
    ) -> None:
        self._held = HeldPort()
        self.port = int(settings.get("PORT", self._held.number))
        self.url = f"http://127.0.0.1:{self.port}"
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("BACKROOM_", "WORKER"))}
        environment = {"WORKERS": "1", "WORKER_CONCURRENCY": "1", **settings}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**ours, "PORT": str(self.port), "DATA_DIR": str(data_dir), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._printed: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._printed.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def printed(self) -> str:
        """All it has printed so far."""
        return "".join(self._printed)

    def wait_for(self, words: str, times: int = 1, within: float = START_SECONDS) -> str:
        """Wait until it has printed the words so many times, and return all it has printed."""
        with self._news:
            met = self._news.wait_for(lambda: self.printed.count(words) >= times or self._ended, within)
        assert met, f"not printed within {within} s: {words!r}\n{self.printed}"
        assert self.printed.count(words) >= times, f"it ended and has not printed {words!r}\n{self.printed}"
        return self.printed

    def wait_until_up(self) -> None:
        self.wait_for(UP)
        self.wait_for("Ctrl-C stops everything.")

    def stop(self, number: signal.Signals = signal.SIGINT, within: float = 60) -> int:
        """Send a signal to the supervisor, and return its exit code."""
        self.process.send_signal(number)
        return self.exit_code(within)

    def exit_code(self, within: float = 60) -> int:
        code = self.process.wait(within)
        self._reader.join(within)
        return code

    def members(self) -> Mapping[str, psutil.Process]:
        """The processes that it has started and watches over, by their names in its output."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            line = " ".join(child.cmdline())
            worker = re.search(r"--hostname (worker-\d+)", line)
            kinds = {"valkey": "valkey-server", "api": "services.api", "scheduler": "services.scheduler"}
            name = worker[1] if worker else next((kind for kind, part in kinds.items() if part in line), line)
            found[name] = child
        return found

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def enqueue(self, payload: Mapping[str, object] | None = None, within: float = 60) -> str:
        """Post a heavy-task, and return the id of the job."""
        body = {"userId": "u1", "payload": payload or {}}
        answer = requests.post(f"{self.url}/jobs/enqueue", json=body, timeout=within)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def enqueue_once_it_can(self, within: float = START_SECONDS) -> str:
        """Post a heavy-task, again and again while the stack refuses, and return the id of the job."""
        deadline = time.monotonic() + within
        while True:
            try:
                return self.enqueue()
            except (requests.ConnectionError, AssertionError):
                assert time.monotonic() < deadline, self.printed
                time.sleep(0.2)

    def wait_until_started(self, job_id: str, within: float = 60) -> None:
        deadline = time.monotonic() + within
        while self.job(job_id)["state"] != "active":
            assert time.monotonic() < deadline, self.job(job_id)
            time.sleep(0.05)

    def job(self, job_id: str) -> Mapping[str, object]:
        answer = requests.get(f"{self.url}/v1/jobs/{job_id}", timeout=60)
        assert answer.status_code == 200, answer.text
        job: Mapping[str, object] = answer.json()
        return job

    def finished(self, job_id: str, within: float = 60) -> Mapping[str, object]:
        """Wait until the job has finished, and return it."""
        answer = requests.get(
            f"{self.url}/v1/jobs/{job_id}", headers={"Prefer": f"wait={within:.0f}"}, timeout=within + 10
        )
        assert answer.status_code == 200, answer.text
        job: Mapping[str, object] = answer.json()
        return job

    def end(self) -> None:
        """Kill what is left; the kernel takes the children along."""
        self.process.kill()
        self.process.wait()
        self._reader.join(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._held.release()
