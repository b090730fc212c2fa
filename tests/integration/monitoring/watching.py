"""Processes that watch a job store, for tests: the exporter, and a Prometheus that scrapes it as ours does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from backroom.local.server import HeldPort
from tests.unit.monitoring.artifacts import PROMETHEUS, ROOT, find_program

T = TypeVar("T")

_POLL_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 60


def eventually(ask: Callable[[], T], *, until: Callable[[T], bool] = bool, within: float = 60) -> T:
    """Ask until the answer is as wanted, and return it; fail with the last answer after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not until(answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s; the last answer was {answer!r}")
        time.sleep(_POLL_SECONDS)
    return answer


class Process:
    """A program that answers on a port of its own. As a context manager it is started on entry and stopped on exit."""

    #: A path that answers 2xx once the program is up.
    ready_path: str

    def __init__(self, log: Path) -> None:
        self._held = HeldPort()
        self.port = self._held.number
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("BACKROOM_")}

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it without waiting."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self._process

    def __enter__(self) -> Self:
        process = self.launch()
        eventually(lambda: self._is_ready() or process.poll() is not None)
        assert process.poll() is None, self.log
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        try:
            return requests.get(self.url + self.ready_path, timeout=5).ok
        except requests.RequestException:
            return False

    def stop(self) -> int:
        """Ask it to stop with SIGTERM, and return its exit status."""
        assert self._process is not None
        self._held.release()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", errors="replace")


class Exporter(Process):
    """``python -m monitoring.exporter``."""

    ready_path = "/metrics"

    def __init__(self, folder: Path, redis_url: str, prefix: str, **settings: str) -> None:
        super().__init__(folder / "exporter.log")
        self._settings = {"BACKROOM_REDIS_URL": redis_url, "BACKROOM_KEY_PREFIX": prefix, **settings}

    def command(self) -> list[str]:
        return [sys.executable, "-m", "monitoring.exporter"]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"BACKROOM_EXPORTER_PORT": str(self.port)} | self._settings

    def get(self, path: str, *, timeout: float = 20) -> requests.Response:
        return requests.get(self.url + path, timeout=timeout)

    def scrape(self) -> "Scrape":
        answer = self.get("/metrics")
        assert answer.status_code == 200
        return Scrape(answer.text)


class Scrape:
    """What one scrape found."""

    def __init__(self, text: str) -> None:
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """The value of the series ``backroom_<name>`` with exactly these labels."""
        return self._values[f"backroom_{name}", frozenset(labels.items())]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self._values}


class Prometheus(Process):
    """Debian's Prometheus with our configuration and rules; only the addresses and the interval are others."""

    ready_path = "/-/ready"

    def __init__(self, folder: Path, *, exporter: str, api: str, interval: str = "1s") -> None:
        super().__init__(folder / "prometheus.log")
        self._folder = folder
        self._binary = find_program("prometheus", "prometheus")
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": interval, "evaluation_interval": interval}
        config["rule_files"] = [str(PROMETHEUS / file) for file in config["rule_files"]]
        targets = {"exporter": exporter, "api": api, "prometheus": f"127.0.0.1:{self.port}"}
        for scrape in config["scrape_configs"]:
            scrape.pop("dns_sd_configs", None)
            scrape["static_configs"] = [{"targets": [targets.pop(scrape["job_name"])]}]
        assert not targets, "every one is scraped"
        del config["alerting"]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")

    def command(self) -> list[str]:
        return [
            self._binary,
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an answer of the HTTP API."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.ok, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list[float]:
        """The values that an instant query finds."""
        found = self.api("query", query=expression)
        assert found["resultType"] in {"vector", "scalar"}
        results = found["result"] if found["resultType"] == "vector" else [{"value": found["result"]}]
        return [float(result["value"][1]) for result in results]
