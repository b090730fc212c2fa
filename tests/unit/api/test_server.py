"""How a connection reads what comes in pieces, which here are as the test has them: no network would promise that."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from services.api.server import RECEIVE, Connection

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
BODY = b"a" * (3 * RECEIVE)


class Pieces:
    """A socket on which these pieces come, one at a time."""

    family = socket.AF_UNIX

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [piece[at : at + RECEIVE] for piece in pieces for at in range(0, len(piece), RECEIVE)]
        self.sent = b""

    def settimeout(self, seconds: float) -> None:
        """All is there already."""

    def shutdown(self, how: int) -> None:
        """The test looks at what was sent."""

    def recv(self, most: int) -> bytes:
        """The next piece."""
        return self._pieces.pop(0) if self._pieces else b""

    def send(self, data: bytes) -> int:
        """Keep it."""
        self.sent += data
        return len(data)


def served(*pieces: bytes) -> tuple[bytes, list[bytes]]:
    """What is answered to these pieces, and the bodies that the application has read of them."""
    bodies = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes] | tuple[bytes]:
        bodies.append(environ["wsgi.input"].read())
        start_response("200 OK", [("Content-Length", "0")])
        return (b"",)

    settings = SimpleNamespace(
        forwarded_allow_ips=[],
        keepalive=1,
        limit_request_line=8190,
        limit_request_fields=100,
        limit_request_field_size=8190,
    )
    worker = SimpleNamespace(wsgi=application, cfg=settings, nr=0, max_requests=100, alive=True)
    sock = Pieces(*pieces)
    Connection(worker, {}, sock, ("127.0.0.1", 1)).serve()  # type: ignore[arg-type]  # what it uses of the worker
    return sock.sent, bodies


@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD, b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % len(BODY), BODY, b"\r\n0\r\n\r\n"),
        (HEAD, b"Transfer-Encoding: chunked\r\n", b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    ],
)
def test_little_in_front_of_much_of_a_body_counts_for_itself(pieces: tuple[bytes, ...]) -> None:
    answered, bodies = served(*pieces)
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    assert bodies == [BODY]


def test_headers_without_end_are_refused() -> None:
    answered, bodies = served(HEAD, *(b"X-%d: %b\r\n" % (number, b"a" * 4000) for number in range(40)))
    assert answered.startswith(b"HTTP/1.1 431 ")
    assert bodies == []
