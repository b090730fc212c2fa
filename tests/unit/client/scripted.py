"""A real HTTP server that answers what it was told to, in order, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DROP", "HANG", "Asked", "Say", "Server", "Stream", "Time", "events", "job", "problem", "server"]

PATIENCE = 30.0


@dataclass(frozen=True)
class Say:
    """An answer: a JSON value, or bytes as they are."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)


class Stream:
    """An answer that is sent part by part; then the connection is closed."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts


DROP = object()
"""Take the request, and close the connection without an answer; among parts of a body: break the connection off."""
HANG = object()
"""Among parts of a body: keep the connection open and say nothing until the client closes it."""


@dataclass(frozen=True)
class Asked:
    method: str
    #: With the query.
    target: str
    #: Names in lower case.
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A running server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.script: list[Any] = []
        #: Set when a client has closed a connection that was left hanging.
        self.left = threading.Event()

    def play(self, *steps: Any) -> None:
        """Answer the next requests with these."""
        self.script += steps

    def next_step(self) -> Any:
        return self.script.pop(0) if self.script else Say(599, {"unexpected": "nothing was planned for this request"})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Server

    def handle(self) -> None:
        """Answer requests until the client leaves; that it resets the connection when it does is no error of ours."""
        with suppress(ConnectionError):
            super().handle()

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.script.asked.append(Asked(self.command, self.path, headers, body))
        step = self.script.next_step()
        if step is DROP:
            self.close_connection = True
            return
        if isinstance(step, Stream):
            self.send_parts(step.parts)
            return
        content = step.body if isinstance(step.body, bytes) else json.dumps(step.body).encode()
        self.send_response(step.status)
        for name, value in {"Content-Type": "application/json", **step.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_parts(self, parts: tuple[Any, ...]) -> None:
        """A body in chunks; complete unless it was broken off."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        for part in parts:
            if part is DROP:
                return
            if part is HANG:
                self.connection.settimeout(PATIENCE)
                with suppress(ConnectionResetError):  # what it has not read makes its close a reset
                    assert self.rfile.read(1) == b"", "the client said something more"
                self.script.left.set()
                return
            try:
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            except ConnectionError:  # the client has heard enough
                self.script.left.set()
                return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
    setattr(Handler, f"do_{method}", Handler.handle_any)


@contextmanager
def server() -> Iterator[Server]:
    """A server on a port of its own."""
    handler = type("Scripted", (Handler,), {})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    script = Server(f"http://127.0.0.1:{listening.server_address[1]}")
    handler.script = script
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join(PATIENCE)


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        #: Called with each sleep.
        self.on_sleep: Callable[[], None] = lambda: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.now += seconds
        self.on_sleep()


def job(**changes: Any) -> dict[str, Any]:
    """A job in the API's words."""
    return {
        "id": "j1",
        "name": "heavy-task",
        "queue": "default",
        "state": "waiting",
        "stateReason": None,
        "data": {"userId": "u1", "payload": {}},
        "options": {"attempts": 3},
        "priority": 0,
        "tags": [],
        "attemptsMade": 0,
        "attempts": 3,
        "stalled": 0,
        "progress": None,
        "result": None,
        "error": None,
        "createdAt": "2030-01-31T09:00:00.000Z",
        "runAt": None,
        "startedAt": None,
        "finishedAt": None,
        "waitMs": None,
        "runMs": None,
        "worker": None,
        "traceId": None,
        "links": {"self": "/v1/jobs/j1", "result": "/v1/jobs/j1/result", "logs": "/v1/jobs/j1/logs"},
        **changes,
    }


def problem(status: int, code: str, **more: Any) -> dict[str, Any]:
    """A problem in the API's words."""
    return {
        "type": f"/problems#{code}",
        "title": code.capitalize(),
        "status": status,
        "detail": f"It is {code}.",
        "requestId": "r1",
        **more,
    }


def events(*each: tuple[str, str], **more: Any) -> bytes:
    """Server-sent events, each given by its id and its type."""
    return b"".join(
        b"id: %s\nevent: %s\ndata: %s\n\n"
        % (
            event_id.encode(),
            kind.encode(),
            json.dumps(
                {
                    "type": kind,
                    "jobId": "j1",
                    "queue": "default",
                    "name": "heavy-task",
                    "at": "2030-01-31T09:00:00.000Z",
                    **more,
                }
            ).encode(),
        )
        for event_id, kind in each
    )
