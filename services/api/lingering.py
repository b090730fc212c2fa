"""gunicorn's worker with threads, whose threads linger: a client's next request mostly comes in a moment.

gunicorn's own worker gives each kept connection back to its main loop after every request, which costs about as much as
reading the request does: the thread wakes the loop, the loop watches the connection, and wakes a thread again.
"""

import select
from typing import Any, Final

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]  # the library has no types

__all__ = ["LingeringWorker"]

LINGER_MS: Final = 5
"""How long a thread stays with its connection. Short, as connections may be more than threads."""


class LingeringWorker(ThreadWorker):  # type: ignore[misc]  # the same
    """Answers request after request of a connection in one thread, as long as they come without a pause."""

    def handle(self, conn: Any) -> Any:
        """Answer requests; tell whether the connection is to be kept. Any: gunicorn's connections carry no types."""
        kept = super().handle(conn)
        while kept is True and self.alive and not conn.is_http2 and _has_more(conn):
            kept = super().handle(conn)
        return kept


def _has_more(conn: Any) -> bool:
    """Whether a request has come, or comes before the thread leaves."""
    if conn.parser.unreader.buf.getvalue():  # sent together with the one before
        return True
    watch = select.poll()
    watch.register(conn.sock, select.POLLIN)
    return bool(watch.poll(LINGER_MS))
