"""A real API for tests: gunicorn on a port of its own, asked over HTTP, each answer held to the API's document."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import requests
from jsonschema import Draft202012Validator

from backroom.model.job_types import JobType

ROOT: Final = Path(__file__).resolve().parents[3]
DOCUMENT: Final = json.loads((ROOT / "openapi.json").read_text("utf-8"))
START_SECONDS: Final = 60
STOP_SECONDS: Final = 60

#: The job types that tests submit.
TYPES: Final = (
    JobType(
        name="heavy-task",
        queue="default",
        description="Work.",
        schema={
            "type": "object",
            "properties": {
                "userId": {"type": "string"},
                "payload": {
                    "type": "object",
                    "properties": {"rounds": {"type": "integer", "minimum": 1, "maximum": 10000}},
                },
            },
            "required": ["userId", "payload"],
        },
        defaults={"attempts": 3, "backoff": {"type": "exponential", "delay": 1000}, "priority": 7},
    ),
    JobType(name="anything", queue="misc"),
)


class Api:
    """The API as a process. As a context manager it is started on entry and stopped on exit."""

    def __init__(self, folder: Path, redis_url: str, prefix: str, **settings: str) -> None:
        # The socket is opened here and handed over: nobody else can take the port in between.
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        #: Of the keys in the store.
        self.prefix = prefix
        self._log = folder / f"api-{self.port}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BACKROOM_")}
        self._environment = {
            **inherited,
            "BACKROOM_REDIS_URL": redis_url,
            "BACKROOM_KEY_PREFIX": prefix,
            "BACKROOM_LOG_FORMAT": "json",
            # A store that a busy machine makes wait is not away. Tests of one that stands still have less patience.
            "BACKROOM_REDIS_TIMEOUT_SECONDS": "20",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.session = requests.Session()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop it, and give back its port."""
        self.session.close()  # first: a process that is being stopped waits a while for connections that are kept
        self.stop()
        self._listener.close()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        listener = self._listener.fileno()
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "services/api/gunicorn.conf.py",
            "--bind",
            f"fd://{listener}",
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "services.api:create_app()"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                pass_fds=(listener,),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the API did not start:\n{self.log}")

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/livez", timeout=1).ok
        except requests.RequestException:
            return False

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and do not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait_until_stopped(self) -> int:
        """Wait until it has ended; its exit code."""
        assert self._process is not None
        return self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Stop it; killed if it does not."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise

    @property
    def pid(self) -> int:
        """The process id of gunicorn's master."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text("utf-8")

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request; its answer must be one that the API's document allows."""
        options.setdefault("timeout", 90)
        response = self.session.request(method, f"{self.url}{path}", **options)
        check_against_document(method, path, response)
        return response

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, body: object = None, **options: Any) -> requests.Response:
        """Send a JSON body."""
        if body is not None:
            options["json"] = body
        return self.call("POST", path, **options)

    def send(self, path: str, body: bytes, **headers: str) -> requests.Response:
        """Send these very bytes as JSON, or as what the headers say."""
        return self.call("POST", path, data=body, headers={"Content-Type": "application/json", **headers})


def check_against_document(method: str, path: str, response: requests.Response) -> None:
    """Fail unless the document knows this answer: its status, and the shape of its body."""
    assert response.headers["X-Request-Id"]
    operation = _operation(method, path)
    if operation is None:
        assert response.status_code in {401, 403, 404, 405, 413, 501}, response.text
        schema: Mapping[str, Any] = {"$ref": "#/components/schemas/ProblemView"}
    else:
        assert str(response.status_code) in operation["responses"], (response.status_code, response.text)
        answer = operation["responses"][str(response.status_code)]
        if "$ref" in answer:
            answer = DOCUMENT["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
        content = answer.get("content")
        if content is None:
            assert response.content == b""
            return
        media_type = response.headers["Content-Type"].partition(";")[0]
        assert media_type in content
        if not media_type.endswith("json"):
            return
        schema = content[media_type]["schema"]
    validator = Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    problems = [error.message for error in validator.iter_errors(response.json())]
    assert not problems, (problems, response.text)


def _operation(method: str, path: str) -> Mapping[str, Any] | None:
    parts = path.partition("?")[0].split("/")
    templates = sorted(DOCUMENT["paths"], key=lambda template: template.count("{"))
    for template in templates:
        wanted = template.split("/")
        if len(wanted) == len(parts) and all(
            want == part or (want.startswith("{") and part) for want, part in zip(wanted, parts, strict=True)
        ):
            found: Mapping[str, Any] | None = DOCUMENT["paths"][template].get(method.lower())
            return found
    return None


def problem(response: requests.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem that the response must be."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == f"/problems#{slug}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["requestId"] == response.headers["X-Request-Id"]
    if status == 503:
        assert int(response.headers["Retry-After"]) > 0
    return body


def pointers(response: requests.Response) -> list[str]:
    """What a refusal points at."""
    return [error["pointer"] for error in response.json().get("errors", [])]
