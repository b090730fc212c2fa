"""The exporter's two addresses, ``/metrics`` and ``/healthz``, and the server that answers them."""

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["ExporterServer", "make_app"]

log = structlog.get_logger("backroom.exporter")


def make_app(registry: CollectorRegistry, check: Callable[[], None]) -> "WSGIApplication":
    """The WSGI application.

    :param check: raises if Redis cannot be reached; ``/healthz`` is then 503 with the reason.
    """
    metrics = make_wsgi_app(registry)

    def healthz(start: "StartResponse") -> Iterable[bytes]:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - a health check answers, whatever is wrong
            return _text(start, HTTPStatus.SERVICE_UNAVAILABLE, str(error) or repr(error))
        return _text(start, HTTPStatus.OK, "ok")

    def app(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path not in {"/metrics", "/healthz"}:
            return _text(start, HTTPStatus.NOT_FOUND, "/metrics and /healthz are what there is")
        if environ["REQUEST_METHOD"] != "GET":
            return _text(start, HTTPStatus.METHOD_NOT_ALLOWED, "GET only", ("Allow", "GET"))
        return metrics(environ, start) if path == "/metrics" else healthz(start)

    return app


def _text(start: "StartResponse", status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    start(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [f"{text}\n".encode()]


class _Handler(WSGIRequestHandler):
    #: Seconds without a byte from or to the client; bounds how long a silent one holds its thread, and the exit.
    timeout = 5

    def handle(self) -> None:
        """Answer one request; a client that says nothing is no error of ours."""
        with suppress(TimeoutError, ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name the base class gives it
        log.debug("request", line=format % args, address=self.client_address[0])


class ExporterServer(ThreadingMixIn, WSGIServer):
    """A small HTTP server with a thread a request, so that a slow scrape does not hold up the health check."""

    #: Closing waits for the answers that are under way.
    daemon_threads = False
    block_on_close = True

    def __init__(self, host: str, port: int, app: "WSGIApplication") -> None:
        """Listen at once. Port 0 is any free one; raises `OSError` if the address cannot be had."""
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]  # an IPv6 address has more parts than it needs
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which can take seconds where no DNS server answers."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()
