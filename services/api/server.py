"""gunicorn's worker for the API: a greenlet (gevent) a connection, HTTP read by llhttp (httptools).

Measured against gunicorn's own workers in `docs/performance.md`: most of what a small request costs there is spent in
reading it, making the WSGI environment, and handing connections between threads. gunicorn keeps the processes, their
signals and sockets; what is here is what lies between a connection and the WSGI application.

Of gunicorn's settings it heeds ``bind``, ``worker_connections``, ``keepalive``, ``graceful_timeout``, ``max_requests``,
``limit_request_line``, ``limit_request_fields``, ``limit_request_field_size``, ``forwarded_allow_ips``, those of TLS.
There is no access log and there are no hooks for requests: the application logs and counts them.
"""

import io
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import gevent  # type: ignore[import-untyped]  # the library has no types
import httptools
import structlog
from gevent.event import Event  # type: ignore[import-untyped]  # the same
from gevent.pool import Pool  # type: ignore[import-untyped]  # the same
from gevent.server import StreamServer  # type: ignore[import-untyped]  # the same
from gunicorn.sock import ssl_context  # type: ignore[import-untyped]  # the same
from gunicorn.workers.ggevent import GeventWorker  # type: ignore[import-untyped]  # the same

from backroom.model.names import new_id
from services.api.http import telemetry
from services.api.http.line import STUCK_SECONDS, chunk_of
from services.api.http.problems import Problem, problem_answer

__all__ = ["Worker"]

log = structlog.get_logger("backroom.api")

RECEIVE: Final = 64 * 1024
"""Bytes that are taken from a connection at once."""
HEAD_BYTES: Final = 64 * 1024
"""A request whose headers have not come to an end within so much is refused; so is one of which so much is neither
headers nor body: what stands around and behind the pieces of one that comes in chunks."""
HEAD_SECONDS: Final = 30.0
"""A request whose first byte has come must have sent all its headers within this time."""
LINGER_SECONDS: Final = 2.0
"""How long a process that is being stopped waits for requests that are under way on connections it has kept."""
DRAIN_BYTES, DRAIN_SECONDS = 1024 * 1024, 1.0
"""How much of a body nobody wanted is read yet, so that the client sees the answer and not a broken connection."""
TURNS: Final = 50
"""After so many requests of one connection the others have their turn, whether it pauses or not."""
_BODILESS: Final = frozenset({"204", "304"})
#: What says where a body ends.
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class Worker(GeventWorker):  # type: ignore[misc]  # the library has no types
    """A process of the API."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: Connections that are open.
        self.connections: set[Connection] = set()
        self._told_to_stop = Event()

    def patch(self) -> None:
        """Take the listening sockets over from the process that forked this one; `gunicorn.conf.py` has patched all."""
        given: list[Any] = self.sockets
        self.sockets: list[socket.socket] = [
            socket.socket(each.FAMILY, socket.SOCK_STREAM, fileno=each.sock.detach()) for each in given
        ]

    def handle_exit(self, sig: int, frame: object) -> None:
        """SIGTERM: finish what has begun."""
        super().handle_exit(sig, frame)
        self._told_to_stop.set()

    def run(self) -> None:
        """Serve until told to stop; then answer what is under way, for ``graceful_timeout`` at most."""
        tls = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        servers = []
        for listener in self.sockets:
            listener.settimeout(None)
            base = _base_environ(listener.getsockname(), is_tls=bool(tls))
            server = StreamServer(listener, partial(self._serve, base), spawn=Pool(self.worker_connections), **tls)
            if self.cfg.workers > 1:
                server.max_accept = 1  # one that has nothing to do comes to its turn
            server.start()
            servers.append(server)
        while self.alive:
            self.notify()
            self._told_to_stop.wait(1.0)
        for server in servers:
            server.close()
        self._finish_within(min(LINGER_SECONDS, self.cfg.graceful_timeout))
        for connection in list(self.connections):
            connection.hang_up_if_idle()
        if not self._finish_within(self.cfg.graceful_timeout - LINGER_SECONDS):
            self.log.warning("requests in progress were cut off after %s s", self.cfg.graceful_timeout)
            for server in servers:
                server.stop(timeout=1)

    def _finish_within(self, seconds: float) -> bool:
        """Wait until no connection is left; whether that is so."""
        deadline = time.monotonic() + seconds
        while self.connections and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.05)
        return not self.connections

    def _serve(self, base: dict[str, Any], sock: Any, address: Any) -> None:
        connection = Connection(self, base, sock, address)
        self.connections.add(connection)
        try:
            connection.serve()
        except (OSError, gevent.GreenletExit) as error:
            self.log.debug("connection ended: %r", error)
        except Exception:
            self.log.exception("a request could not be answered")
        finally:
            self.connections.discard(connection)
            with suppress(OSError):
                sock.close()


def _base_environ(name: Any, *, is_tls: bool) -> dict[str, Any]:
    """What all requests of a listening socket have in common."""
    host, port = (name[0], str(name[1])) if isinstance(name, tuple) else ("localhost", "")
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if is_tls else "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }


class _Request:
    """A request as far as it has come."""

    __slots__ = ("chunks", "fields", "is_complete", "keep_alive", "method", "target", "version", "wants_continue")

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.method, self.version = "", ""
        self.keep_alive, self.wants_continue = False, False
        #: What has come of the body and was not read yet.
        self.chunks: deque[bytes] = deque()
        self.is_complete = False


class _Incoming(io.RawIOBase):
    """A body that has not come in full yet: read from the connection while it is read."""

    def __init__(self, connection: "Connection", request: _Request) -> None:
        self._connection, self._request = connection, request

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        request = self._request
        while not request.chunks:
            if request.is_complete:
                return 0
            self._connection.receive_body(request)
        chunk = request.chunks.popleft()
        taken = min(len(chunk), len(buffer))
        buffer[:taken] = chunk[:taken]
        if taken < len(chunk):
            request.chunks.appendleft(chunk[taken:])
        return taken


class _Refused(Exception):
    """A request that is answered here, as it cannot be read."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(slug, detail)


class Connection:
    """One connection: reads requests and answers them, in their order. Its ``on_`` methods are called by llhttp."""

    def __init__(self, worker: Worker, base: dict[str, Any], sock: Any, address: Any) -> None:
        self._worker, self._sock, self._app = worker, sock, worker.wsgi
        self._cfg = worker.cfg
        peer = (address[0], str(address[1])) if isinstance(address, tuple) and address else ("", "")
        self._base = {**base, "REMOTE_ADDR": peer[0], "REMOTE_PORT": peer[1], "gunicorn.socket": sock}
        allowed = self._cfg.forwarded_allow_ips
        self._trusts_peer = "*" in allowed or peer[0] in allowed
        self._parser = httptools.HttpRequestParser(self)
        #: Whose headers are complete, and that have not been answered.
        self._requests: deque[_Request] = deque()
        self._request = _Request()
        self._in_head = False
        #: What has come since headers, a piece of a body or a request came to an end.
        self._bare_bytes = 0
        #: A parser is being told how the body of the request is framed, not of another request: see `_decline`.
        self._is_told_again = False
        #: Why nothing more can be read.
        self._refusal: _Refused | None = None
        self._is_idle = True
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def hang_up_if_idle(self) -> None:
        """Let a connection on which nothing is under way end."""
        if self._is_idle:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    # Reading.

    def on_message_begin(self) -> None:
        if not self._is_told_again:
            self._request, self._in_head = _Request(), True

    def on_url(self, url: bytes) -> None:
        if self._is_told_again:
            return
        request = self._request
        request.target += url
        if len(request.target) > self._cfg.limit_request_line > 0:
            self._refuse("uri-too-long", f"The address is longer than {self._cfg.limit_request_line} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # behind a chunked body: nobody asks for those; or told again
        fields, cfg = self._request.fields, self._cfg
        if len(fields) >= cfg.limit_request_fields:
            self._refuse("headers-too-large", f"The request has more than {cfg.limit_request_fields} headers.")
        elif len(name) + len(value) > cfg.limit_request_field_size > 0:
            self._refuse("headers-too-large", f"A header is longer than {cfg.limit_request_field_size} bytes.")
        else:
            fields.append((name, value))

    def on_headers_complete(self) -> None:
        request, parser = self._request, self._parser
        if self._is_told_again:
            self._is_told_again = False
            return
        if self._refusal is not None:
            return  # of this request, or of one before it: where they begin and end is nothing to rely on any more
        request.method, request.version = parser.get_method().decode("latin-1"), parser.get_http_version()
        request.keep_alive = parser.should_keep_alive()
        self._in_head, self._bare_bytes = False, 0
        self._requests.append(request)

    def on_body(self, body: bytes) -> None:
        self._request.chunks.append(body)
        self._bare_bytes = 0

    def on_message_complete(self) -> None:
        self._request.is_complete = True
        self._bare_bytes = 0

    def _refuse(self, slug: str, detail: str) -> None:
        if self._refusal is None:
            self._refusal = _Refused(slug, detail)

    def _receive(self, seconds: float) -> bool:
        """Take in what comes next; False if that is the end. Raises `TimeoutError`, `OSError`."""
        self._sock.settimeout(seconds)
        data = self._sock.recv(RECEIVE)
        if not data:
            return False
        self._bare_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserInvalidMethodError:
            self._refuse("unknown-method", "The method of the request is none that HTTP servers know.")
        except httptools.HttpParserError as error:
            self._refuse("bad-request", f"This is not HTTP/1.1: {error}.")
        if self._bare_bytes > HEAD_BYTES:  # also with what has just come, in which something may have come to its end
            what = "The headers are" if self._in_head else "What stands around a piece of the body is"
            self._refuse("headers-too-large", f"{what} longer than {HEAD_BYTES} bytes.")
        return True

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as wish:
                data = self._decline(data[wish.args[0] :])
            else:
                return

    def _decline(self, rest: bytes) -> bytes:
        """Pass over the wish for another protocol, as some clients add it to any request; what is to be read next.

        The request is answered as if it had no such wish (RFC 9110, 7.8). Its parser takes the rest for the other
        protocol, so another one, which has heard nothing of it, reads the body and what follows.
        """
        request = self._request
        if request.method == "CONNECT" or self._refusal is not None:  # what follows is not HTTP, or not read
            request.keep_alive = False
            return b""
        self._parser = httptools.HttpRequestParser(self)
        framing = [(name, value) for name, value in request.fields if name.lower() in _FRAMING]
        if not framing:
            return rest
        request.is_complete, self._is_told_again = False, True
        return b"POST / HTTP/1.1\r\n%b\r\n%b" % (b"".join(b"%b: %b\r\n" % field for field in framing), rest)

    def _next(self) -> _Request | None:
        """The next request; None at the end. Raises `_Refused`."""
        began: float | None = None
        while not self._requests:
            if self._refusal is not None:
                raise self._refusal
            self._is_idle = not self._in_head
            if self._in_head and began is None:
                began = time.monotonic()
            seconds = self._cfg.keepalive if began is None else began + HEAD_SECONDS - time.monotonic()
            try:
                if seconds <= 0 or not self._receive(seconds):
                    return None
            except TimeoutError:
                if began is not None:
                    raise _Refused("request-timeout", f"The headers took longer than {HEAD_SECONDS:.0f} s.") from None
                return None
        self._is_idle = False
        return self._requests.popleft()

    def receive_body(self, request: _Request) -> None:
        """Take in more of a body that is being read. Raises `OSError` where no more comes."""
        if request.wants_continue:
            request.wants_continue = False
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._refusal is not None:
            raise OSError(str(self._refusal))
        if not self._receive(STUCK_SECONDS):
            raise OSError("the connection was closed in the middle of it")

    # Answering.

    def serve(self) -> None:
        """Answer requests until the connection ends. Raises `OSError` when it breaks."""
        turns = 0
        try:
            while (request := self._next()) is not None:
                if not self._answer(request):
                    break
                turns += 1
                if turns % TURNS == 0:
                    gevent.sleep(0)
        except _Refused as refused:
            self._send_problem(refused.problem)
            self._drain()
            return
        if not self._request.is_complete and self._request.method:
            self._drain()

    def _answer(self, request: _Request) -> bool:
        """Have a request answered; whether the connection can be kept."""
        worker = self._worker
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
            started[:] = [(status, headers)]

        worker.nr += 1
        if worker.nr >= worker.max_requests:
            worker.alive = False
        chunks = self._app(self._environ(request), start_response)
        try:
            [(status, headers)] = started
            return self._send(request, status, headers, chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _environ(self, request: _Request) -> dict[str, Any]:
        environ = self._base.copy()
        target = request.target
        if not target.startswith(b"/") and target != b"*":  # the whole address, as proxies are asked
            target = target.split(b"://", 1)[-1]
            target = b"/" + target.partition(b"/")[2]
        path, _, query = target.partition(b"?")
        environ["REQUEST_METHOD"] = request.method
        environ["PATH_INFO"] = (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1")
        environ["QUERY_STRING"] = query.decode("latin-1")
        environ["SERVER_PROTOCOL"] = f"HTTP/{request.version}"
        for name, value in request.fields:
            if b"_" in name:
                continue  # it would pass for the one with a hyphen, which a proxy may have seen to
            # White space behind a value is no part of it; llhttp leaves it there.
            key, text = name.decode("latin-1").upper().replace("-", "_"), value.decode("latin-1").rstrip(" \t")
            if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
                key = f"HTTP_{key}"
            environ[key] = f"{environ[key]},{text}" if key in environ else text
        if request.is_complete:
            environ["wsgi.input"] = io.BytesIO(b"".join(request.chunks))
        else:
            request.wants_continue = environ.get("HTTP_EXPECT", "").lower() == "100-continue"
            environ["wsgi.input"] = io.BufferedReader(_Incoming(self, request))
        if self._trusts_peer and environ.get("HTTP_X_FORWARDED_PROTO") == "https":
            environ["wsgi.url_scheme"] = "https"
        return environ

    def _send(
        self, request: _Request, status: str, headers: Sequence[tuple[str, str]], chunks: Iterable[bytes]
    ) -> bool:
        """Send an answer; whether the connection can be kept."""
        keep = request.keep_alive and self._worker.alive and request.is_complete and self._refusal is None
        lines = [f"HTTP/1.1 {status}"]
        has_length = request.method == "HEAD" or status[:3] in _BODILESS
        for name, value in headers:
            if "\n" in value or "\r" in value:
                raise ValueError(f"the header {name} holds a line break")
            has_length = has_length or name == "Content-Length"
            lines.append(f"{name}: {value}")
        is_chunked = not has_length and request.version == "1.1"
        if is_chunked:
            lines.append("Transfer-Encoding: chunked")
        keep = keep and (has_length or is_chunked)
        lines += (f"Date: {_date()}", f"Connection: {'keep-alive' if keep else 'close'}", "\r\n")
        head = "\r\n".join(lines).encode("latin-1")
        if isinstance(chunks, tuple) and not is_chunked:
            self._write(head + b"".join(chunks))
            return keep
        for chunk in chunks:
            self._write(head + (chunk_of(chunk) if is_chunked and chunk else chunk))
            head = b""
        if is_chunked:
            self._write(head + b"0\r\n\r\n")
        elif head:
            self._write(head)
        return keep

    def _send_problem(self, problem: Problem) -> None:
        request_id = new_id()
        answer = problem_answer(problem, request_id)
        status, headers, chunks = answer.wsgi({"X-Request-Id": request_id, "Connection": "close"})
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), f"Date: {_date()}", "\r\n"]
        telemetry.observe(method="other", route=None, status=answer.status, seconds=None)
        log.info("request refused", reason=problem.kind.slug, cause=problem.detail, address=self._base["REMOTE_ADDR"])
        self._write("\r\n".join(lines).encode("latin-1") + b"".join(chunks))

    def _write(self, data: bytes) -> None:
        """Send it all. Raises `TimeoutError` if the client takes nothing in any more, `OSError`."""
        self._sock.settimeout(STUCK_SECONDS)
        sent = self._sock.send(data)
        if sent < len(data):
            rest = memoryview(data)[sent:]
            while rest:
                rest = rest[self._sock.send(rest) :]

    def _drain(self) -> None:
        """Read on for a moment: a client that is still sending when the connection closes never sees the answer."""
        deadline, read = time.monotonic() + DRAIN_SECONDS, 0
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            while read < DRAIN_BYTES and (left := deadline - time.monotonic()) > 0:
                self._sock.settimeout(left)
                data = self._sock.recv(RECEIVE)
                if not data:
                    return
                read += len(data)


_dated: tuple[int, str] = (0, "")


def _date() -> str:
    """The time for the header ``Date``, made once a second."""
    global _dated  # noqa: PLW0603 - a cache of one
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, formatdate(now, usegmt=True))
    return _dated[1]
