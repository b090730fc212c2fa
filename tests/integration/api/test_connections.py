"""HTTP as bytes: what lies between a connection and the operations."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path

import pytest

from backroom.local.server import EmbeddedServer
from backroom.store import Store
from tests.integration.api.service import Api

HOST = b"Host: localhost\r\n"
JOB = b'{"name": "anything", "data": {"n": 1}}'
#: The head of a submission but for the length of its body.
SUBMISSION = b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"


class Line:
    """A connection on which bytes are written, and answers read."""

    def __init__(self, api: Api) -> None:
        self._socket = socket.create_connection(("127.0.0.1", api.port), timeout=60)
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> "Line":
        """Send what the other side takes: one that has refused a request reads on for a second, and then no more."""
        with suppress(ConnectionError):
            self._socket.sendall(data)
        return self

    def end(self) -> "Line":
        """Send nothing more."""
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self, method: str = "GET") -> tuple[int, Mapping[str, str], bytes]:
        """The next answer: status, headers, body."""
        response = HTTPResponse(self, method=method)  # type: ignore[arg-type]  # all it wants is makefile
        response.begin()
        return response.status, dict(response.headers), response.read()

    def makefile(self, _mode: str) -> "Line":
        return self

    def readline(self, limit: int = -1) -> bytes:
        return self._file.readline(limit)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def readinto(self, buffer: bytearray) -> int:
        return self._file.readinto(buffer)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """`HTTPResponse` closes what it thinks is its own: the connection goes on."""

    def hang_up(self) -> None:
        self._file.close()
        self._socket.close()

    @property
    def has_ended(self) -> bool:
        """Whether the other side has closed the connection; waits for it, or for something to read."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:  # closed while something was on its way to it
            return True


@pytest.fixture
def line(api: Api) -> Iterator[Line]:
    line = Line(api)
    yield line
    line.hang_up()


def refusal(line: Line, status: int, slug: str) -> None:
    """The next answer is this problem, and the last."""
    found, headers, body = line.answer()
    problem = json.loads(body)
    assert (found, problem["type"], problem["status"]) == (status, f"/problems#{slug}", status)
    assert (headers["Content-Type"], headers["Connection"]) == ("application/problem+json", "close")
    assert headers["X-Request-Id"] == problem["requestId"]
    assert line.has_ended


def test_requests_sent_at_once_are_answered_in_their_order(line: Line, store: Store) -> None:
    one = SUBMISSION + b"Content-Length: %d\r\n\r\n%b" % (len(JOB), JOB)
    line.send(one + b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n" + one)
    ids = [json.loads(line.answer()[2]).get("id") for _ in range(3)]
    assert store.inspection.states([ids[0], ids[2]]) == ["waiting", "waiting"]
    assert ids[1] is None


def test_a_request_may_come_byte_by_byte(line: Line) -> None:
    for byte in SUBMISSION + b"Content-Length: %d\r\n\r\n%b" % (len(JOB), JOB):
        line.send(bytes([byte]))
    assert line.answer()[0] == 202


def test_a_body_may_come_in_chunks(line: Line) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (JOB[:7], JOB[7:8], JOB[8:]))
    line.send(SUBMISSION + b"Transfer-Encoding: chunked\r\n\r\n" + chunks[:20])
    line.send(chunks[20:] + b"0\r\nX-More: 1\r\n\r\n")
    assert line.answer()[0] == 202
    assert line.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n").answer()[0] == 200


@pytest.mark.parametrize("endless", [b"0\r\nX: ", b"0\r\n" + b"X: 1\r\n" * 50_000, b"1;x="])
def test_what_stands_around_the_pieces_of_a_body_comes_to_an_end(line: Line, store: Store, endless: bytes) -> None:
    line.send(SUBMISSION + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(JOB), JOB) + endless)
    line.send(b"a" * 200_000)
    status, headers, body = line.answer()
    problem = json.loads(body)
    assert (status, headers["Connection"], problem["type"]) == (400, "close", "/problems#bad-request")
    assert "longer than 65536 bytes" in problem["detail"]
    assert store.queues.list() == []


def test_what_follows_a_body_in_chunks_is_no_header_of_the_next_request(line: Line) -> None:
    body = b"%x\r\n%b\r\n0\r\nX-Request-Id: a\r\n\r\n" % (len(JOB), JOB)
    line.send(SUBMISSION + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    line.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
    assert [line.answer()[1]["X-Request-Id"] == "a" for _ in range(2)] == [False, False]


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(JOB), JOB)


@pytest.mark.parametrize("body", [b"Content-Length: %d\r\n\r\n%b" % (len(JOB), JOB), CHUNKED])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_wish_for_another_protocol_is_passed_over(line: Line, body: bytes, step: int) -> None:
    empty = b"Content-Length: 0\r\n\r\n"
    asked = b"GET /livez HTTP/1.1\r\n" + HOST + UPGRADE + b"\r\n"
    request = SUBMISSION + UPGRADE + body + asked + asked + SUBMISSION + UPGRADE + empty + SUBMISSION + body
    for at in range(0, len(request), step):
        line.send(request[at : at + step])
    answers = [line.answer() for _ in range(5)]
    assert [status for status, _, _ in answers] == [202, 200, 200, 400, 202]
    assert {headers["Connection"] for _, headers, _ in answers} == {"keep-alive"}
    assert [json.loads(answers[at][2])["data"] for at in (0, 4)] == [{"n": 1}] * 2


def test_who_wishes_for_another_protocol_may_ask_before_sending_a_body(line: Line) -> None:
    line.send(SUBMISSION + UPGRADE + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(JOB))
    assert [line.readline(), line.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
    assert line.send(JOB).answer()[0] == 202


def test_what_follows_a_request_for_a_tunnel_is_not_read(line: Line, store: Store) -> None:
    line.send(b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n" + SUBMISSION + CHUNKED)
    status, headers, _ = line.answer()
    assert (status, headers["Connection"]) == (405, "close")
    assert line.has_ended
    assert store.queues.list() == []


def test_white_space_around_a_header_is_no_part_of_it(line: Line) -> None:
    line.send(b"GET /v1/queues HTTP/1.1\r\nHost: \t localhost \t\r\nX-Request-Id:  a \r\n\r\n")
    status, headers, _ = line.answer()
    assert (status, headers["X-Request-Id"]) == (200, "a")


def test_a_body_in_chunks_that_ends_too_soon_stores_nothing(line: Line, store: Store) -> None:
    line.send(SUBMISSION + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(JOB), JOB)).end()
    status, _, body = line.answer()
    assert (status, json.loads(body)["type"]) == (400, "/problems#bad-request")
    assert store.queues.list() == []


def test_who_asks_before_sending_a_body_is_told_to_go_on(line: Line) -> None:
    line.send(SUBMISSION + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(JOB))
    assert [line.readline(), line.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
    assert line.send(JOB).answer()[0] == 202


def test_who_asks_before_sending_a_body_that_is_too_large_is_not(line: Line) -> None:
    line.send(SUBMISSION + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n").end()
    assert line.answer()[0] == 413


def test_a_connection_goes_on_after_a_body_that_is_too_large(line: Line) -> None:
    line.send(SUBMISSION + b"Content-Length: 2000000\r\n\r\n" + b" " * 2_000_000)
    status, headers, _ = line.answer()
    assert (status, headers["Connection"]) == (413, "keep-alive")
    assert line.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n").answer()[0] == 200


def test_an_answer_to_a_head_has_no_body(line: Line) -> None:
    line.send(b"HEAD /v1/queues HTTP/1.1\r\n" + HOST + b"\r\nGET /v1/queues HTTP/1.1\r\n" + HOST + b"\r\n")
    head, whole = line.answer("HEAD"), line.answer()
    assert (head[0], head[2], head[1]["Content-Length"]) == (200, b"", whole[1]["Content-Length"])


@pytest.mark.parametrize(
    ("head", "is_kept"),
    [
        (b"GET /livez HTTP/1.1\r\n", True),
        (b"GET /livez HTTP/1.1\r\nConnection: close\r\n", False),
        (b"GET /livez HTTP/1.0\r\n", False),
        (b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n", True),
        (b"GET /livez HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", True),
        (b"GET /livez HTTP/1.1\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n", False),
        (b"GET http://localhost/livez?x HTTP/1.1\r\n", True),
    ],
)
def test_a_connection_is_kept_as_its_client_wants_it(line: Line, head: bytes, is_kept: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    status, headers, _ = line.send(head + HOST + b"\r\n").answer()
    assert status in {200, 422}
    assert headers["Connection"] == ("keep-alive" if is_kept else "close")
    if is_kept:
        assert line.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n").answer()[0] == 200
    else:
        assert line.has_ended


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /livez HTTQ/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
        SUBMISSION + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}",
        SUBMISSION + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        SUBMISSION + b"Content-Length: -1\r\n\r\n{}",
        SUBMISSION + b"Content-Length: 1e3\r\n\r\n{}",
        SUBMISSION + b"Transfer-Encoding: chunked, identity\r\n\r\n{}",
        b"GET /li\x01vez HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /livez HTTP/3.7\r\n" + HOST + b"\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(line: Line, request_bytes: bytes) -> None:
    line.send(request_bytes)
    refusal(line, 400, "bad-request")


def test_a_method_that_http_does_not_have(line: Line) -> None:
    line.send(b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n")
    refusal(line, 501, "unknown-method")


@pytest.mark.parametrize(
    ("head", "status", "slug"),
    [
        (b"GET /" + b"a" * 8190 + b" HTTP/1.1\r\n", 414, "uri-too-long"),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(101)), 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 8190 + b"\r\n", 431, "headers-too-large"),
    ],
)
def test_heads_that_are_too_long(line: Line, head: bytes, status: int, slug: str) -> None:
    line.send(head + HOST + b"\r\n")
    refusal(line, status, slug)


def test_a_head_without_end_is_refused_soon(line: Line) -> None:
    line.send(b"GET / HTTP/1.1\r\nX: ").send(b"a" * 200_000)
    refusal(line, 431, "headers-too-large")


def test_what_follows_a_refused_request_is_not_read_as_another(line: Line, store: Store) -> None:
    line.send(SUBMISSION + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + SUBMISSION + b"\r\n")
    refusal(line, 400, "bad-request")
    assert store.queues.list() == []


def test_a_header_with_an_underscore_does_not_pass_for_another(line: Line) -> None:
    line.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"X_Request_Id: forged\r\n\r\n")
    assert line.answer()[1]["X-Request-Id"] != "forged"


def test_a_refusal_reaches_a_client_that_is_still_sending(server: EmbeddedServer, tmp_path: Path) -> None:
    keys = '[{"name": "a", "key": "0123456789abcdef", "roles": ["admin"]}]'
    with Api(tmp_path, server.url, "sending", BACKROOM_API_KEYS=keys) as api:
        line = Line(api)
        line.send(SUBMISSION + b"Content-Length: 900000\r\n\r\n" + b" " * 100_000)
        assert line.answer()[0] == 401
        line.send(b" " * 100_000)
        assert line.has_ended
        line.hang_up()


def test_connections_without_a_request_end_when_the_api_stops_and_requests_under_way_are_answered(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    with Api(tmp_path, own_server.url, "stopping", BACKROOM_API_PROCESSES="1") as api:
        idle, busy = Line(api), Line(api)
        assert idle.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n").answer()[0] == 200
        busy.send(SUBMISSION + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(JOB))
        assert busy.readline() == b"HTTP/1.1 100 Continue\r\n"
        busy.readline()
        api.ask_to_stop()
        assert idle.has_ended
        status, headers, _ = busy.send(JOB).answer()
        assert (status, headers["Connection"]) == (503, "close")  # no types are published
        assert api.wait_until_stopped() == 0
        for line in (idle, busy):
            line.hang_up()
