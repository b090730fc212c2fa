"""A TCP proxy in front of the store that does to connections what networks do."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Proxy"]


class Proxy:
    """Listens on a port of its own and passes on to another one, until it is told otherwise."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._flows = threading.Event()
        self._flows.set()
        self._halves = False
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._listen, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        with self._lock:
            return len(self._pairs)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _close(self._listener)  # shut down, too: to close it wakes nobody who waits for a caller
        self._flows.set()
        self._thread.join()
        self.cut()

    def stall(self) -> None:
        """Pass nothing on, and keep every connection open."""
        self._flows.clear()

    def flow(self) -> None:
        """Pass on what was held back, and what comes."""
        self._flows.set()

    def cut(self) -> None:
        """Drop every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                _close(end)

    def halve(self) -> None:
        """Pass on half of what comes next on each connection, and drop it: a command, or an answer, that breaks off."""
        self._halves = True

    def heal(self) -> None:
        """New connections are whole again."""
        self._halves = False

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._behind))
            except OSError:  # nobody is there: the caller hears it as from a network
                _close(near)
                continue
            with self._lock:
                self._pairs.add((near, far))
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, target, (near, far)), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                if self._halves:
                    target.sendall(data[: len(data) // 2])
                    break
                target.sendall(data)
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            _close(end)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
