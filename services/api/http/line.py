"""The line to one who listens: his connection, written to past the server that answered him."""

import select
import socket
import ssl
import time
from typing import Any, Final

__all__ = ["STUCK_SECONDS", "Line", "chunk_of"]

STUCK_SECONDS: Final = 30
"""A caller that, in the middle of a body or an answer, sends or takes nothing in for so long has gone away."""


def chunk_of(data: bytes) -> bytes:
    """The data as HTTP/1.1 sends a piece of a body whose length is not known."""
    return b"%X\r\n%b\r\n" % (len(data), data)


class Line:
    """Writing here costs one call and never waits, where the server would need a greenlet that is woken for it.

    Only for those whose greenlet writes nothing meanwhile. Not every connection can be written to like that: one behind
    TLS or with HTTP/2 has a language of its own. Their streams are sent by the server, as are those of servers that
    keep the connection to themselves.
    """

    def __init__(self, environ: Any) -> None:
        """``environ`` is that of the request, whose answer begins before anything is written here."""
        connection = environ.get("gunicorn.socket")
        if not isinstance(connection, socket.socket) or isinstance(connection, ssl.SSLSocket):
            connection = None
        self._connection: socket.socket | None = connection
        protocol = environ.get("SERVER_PROTOCOL")
        self.is_chunked = protocol == "HTTP/1.1"
        #: Whether `write` works.
        self.is_open = connection is not None and protocol in {"HTTP/1.0", "HTTP/1.1"} and "HTTP_VERSION" not in environ
        self._rest = b""
        self._error: OSError | None = None
        #: When something was written last.
        self.written_at = 0.0

    def open(self) -> None:
        """From now on `write` is used; until `close` the server must not be."""
        assert self._connection is not None
        self._connection.settimeout(0)

    def close(self) -> None:
        """Leave the connection to the server again. Call `flush` before it says anything."""
        assert self._connection is not None
        # Sending fails in the end: a stream whose caller takes nothing in would keep its seat for ever.
        self._connection.settimeout(STUCK_SECONDS)

    def write(self, data: bytes) -> bool:
        """Send what can be sent at once. False: there is a rest, to be sent by `flush`; or nobody is there."""
        assert self._connection is not None
        self.written_at = time.monotonic()
        try:
            sent = self._connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._error = error
            return False
        self._rest = data[sent:]
        return not self._rest

    def flush(self) -> None:
        """Send the rest, however long it takes. Raises `OSError` if nobody takes it, or nobody is there."""
        if self._error is not None:
            raise self._error
        if self._rest:
            assert self._connection is not None
            rest, self._rest = self._rest, b""
            self._connection.sendall(rest)

    def is_gone(self) -> bool:
        """Whether the caller has closed the connection; one behind TLS is found closed at the next heartbeat."""
        if self._connection is None:
            return False
        watch = select.poll()
        try:
            watch.register(self._connection, select.POLLIN)
            return bool(watch.poll(0)) and self._connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True
