"""Ports that nobody else gets."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HeldPort", "held_port"]


class HeldPort:
    """A port of 127.0.0.1 on which nobody listens, kept from everybody who asks the system for a free one.

    A server of the test's may listen on it meanwhile: whoever sets SO_REUSEADDR, as servers do, may bind an address
    that others have bound but do not listen on. A port that is found and let go is another process's a moment later.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let others have it. Harmless if it was released."""
        self._socket.close()


@contextmanager
def held_port() -> Iterator[int]:
    """The number of such a port, while the test needs it."""
    port = HeldPort()
    yield port.number
    port.release()
