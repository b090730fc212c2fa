"""A Compose project of the tests' own: started, asked over HTTP, looked at from outside, removed without a trace."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import requests

ROOT: Final = Path(__file__).resolve().parents[2]
#: What a machine may choose for a test run, where it reaches no registry or has another network.
PASSED_ON: Final = frozenset(
    {"PYTHON_IMAGE", "REDIS_IMAGE", "PROMETHEUS_IMAGE", "ALERTMANAGER_IMAGE", "GRAFANA_IMAGE", "BACKROOM_BUILD_NETWORK"}
)
#: Variables with these beginnings would make another stack than the one in the repository.
LEFT_OUT: Final = ("BACKROOM_", "COMPOSE_", "WORKER")
#: The services with images of our own.
OWN_SERVICES: Final = ("api", "worker", "scheduler", "exporter")
FINISHED: Final = frozenset({"completed", "failed", "cancelled", "expired"})
_POLL_SECONDS: Final = 0.2

T = TypeVar("T")


def eventually(ask: Callable[[], T], *, until: Callable[[T], bool] = bool, within: float = 60) -> T:
    """Ask until the answer is as wanted, and return it; fail with the last answer after ``within`` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = ask()
        if until(answer):
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s; the last answer was {answer!r}")
        time.sleep(_POLL_SECONDS)


def run(*words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, within: float = 600) -> bytes:
    """Run a program and return what it printed; fail with what it complained about."""
    done = subprocess.run(words, env=env, cwd=cwd, input=b"", capture_output=True, timeout=within)
    if done.returncode != 0:
        told = "\n".join(done.stderr.decode(errors="replace").splitlines()[-40:])
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{told}")
    return done.stdout


class Stack:
    """One Compose project of a checkout. A `.env` and overrides that may lie in the checkout do not touch it."""

    #: What the API answered to a job that was posted at once after the first start.
    first_answer: requests.Response

    def __init__(self, checkout: Path = ROOT, *, overlays: Sequence[str] = (), **settings: str) -> None:
        self.name = f"backroom-test-{uuid4().hex[:8]}"
        self.checkout = checkout
        self._files = ("docker-compose.yml", *overlays)
        ours = {k: v for k, v in os.environ.items() if k in PASSED_ON or not k.startswith(LEFT_OUT)}
        # Port 0 is any free port; several runs on one machine do not meet.
        ports = {"BACKROOM_PORT": "0", "BACKROOM_PROMETHEUS_PORT": "0", "BACKROOM_GRAFANA_PORT": "0"}
        self._env = ours | ports | settings
        self._http = requests.Session()
        self._addresses: dict[tuple[str, int], str] = {}

    # --- Compose

    def compose(self, *words: str, within: float = 600) -> str:
        """Run ``docker compose`` on this project, and return what it printed."""
        files = [word for file in self._files for word in ("--file", str(self.checkout / file))]
        command = ("docker", "compose", "--project-name", self.name, "--env-file", os.devnull, *files, *words)
        return run(*command, env=self._env, within=within).decode()

    def shell(self, lines: str, *, folder: Path) -> None:
        """Run lines of shell in a folder; a plain ``docker compose`` in them means this project."""
        files = os.pathsep.join(str(self.checkout / file) for file in self._files)
        project = {"COMPOSE_PROJECT_NAME": self.name, "COMPOSE_FILE": files, "COMPOSE_DISABLE_ENV_FILE": "1"}
        run("bash", "-euo", "pipefail", "-c", lines, env=self._env | project, cwd=folder)

    def config(self) -> dict[str, Any]:
        """The project as Compose understands it."""
        return json.loads(self.compose("config", "--format", "json"))

    def up(self, *services: str, scale: Mapping[str, int] | None = None) -> None:
        """Start services, and return when all are healthy."""
        self._addresses.clear()
        scaled = [word for service, n in (scale or {}).items() for word in ("--scale", f"{service}={n}")]
        self.compose("up", "--detach", "--wait", "--wait-timeout", "180", *scaled, *services)

    def build(self, *services: str) -> None:
        """Build images one by one: built at once, those that share stages crash an Engine 20.10 now and then."""
        for service in services:
            self.compose("build", service)

    def remove(self) -> None:
        """Remove the project's containers, networks, volumes and images."""
        self._http.close()
        self.compose("down", "--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "5")

    # --- from outside

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """What the engine knows about the running containers of these services (of all, if none is named)."""
        ids = self.compose("ps", "--quiet", *services).split()
        return json.loads(run("docker", "inspect", *ids)) if ids else []

    def inside(self, service: str, program: str, *, index: int = 1) -> str:
        """Run a Python program in a container of the service, and return what it printed."""
        return self.compose("exec", "-T", "--index", str(index), service, "python", "-c", program)

    def address(self, service: str, port: int) -> str:
        """Where a published port of a service is to be found, as a URL."""
        found = self._addresses.get((service, port))
        if found is None:
            found = self._addresses[service, port] = f"http://{self.compose('port', service, str(port)).strip()}"
        return found

    # --- over HTTP

    def call(self, method: str, path: str, body: object = None) -> requests.Response:
        """Ask the API."""
        return self._http.request(method, f"{self.address('api', 8000)}{path}", json=body, timeout=30)

    def get(self, path: str) -> Any:
        """The JSON that the API answers to a GET that must succeed."""
        answer = self.call("GET", path)
        assert answer.ok, f"GET {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def submit(self, jobs: Sequence[Mapping[str, Any]]) -> list[str]:
        """Submit jobs in bulk, and return their ids."""
        answer = self.call("POST", "/v1/jobs/bulk", {"jobs": list(jobs)})
        assert answer.status_code == 202, answer.text
        return [job["id"] for job in answer.json()["jobs"]]

    def finished(self, job_id: str, *, within: float = 60) -> dict[str, Any]:
        """The job, once it has come to its end."""
        return eventually(
            lambda: self.get(f"/v1/jobs/{job_id}"), until=lambda job: job["state"] in FINISHED, within=within
        )

    def counts(self, queue: str) -> dict[str, int]:
        """How many jobs of the queue are in which state."""
        return self.get(f"/v1/queues/{queue}")["counts"]

    def drained(self, queue: str, jobs: int, *, within: float = 180) -> dict[str, int]:
        """The counts of the queue once this many of its jobs have ended, however they ended."""
        return eventually(
            lambda: self.counts(queue), until=lambda counts: sum(counts[s] for s in FINISHED) == jobs, within=within
        )

    def query(self, expression: str) -> float | None:
        """The value of a Prometheus expression with one result; None without a result."""
        answer = self._http.get(
            f"{self.address('prometheus', 9090)}/api/v1/query", params={"query": expression}, timeout=30
        )
        found = answer.json()["data"]["result"]
        return float(found[0]["value"][1]) if found else None
