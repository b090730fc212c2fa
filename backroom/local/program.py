"""One supervised process: started on a leash, its output cut into lines, its end noticed and explained."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backroom.local.leash import leashed

__all__ = ["Program", "Running"]

_READ_BYTES: Final = 65_536
"""Read at once; a longer line is cut here, so that a process that writes no line ends cannot fill the memory."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run, and how it ends."""

    name: str
    command: Sequence[str]
    cwd: Path
    environment: Mapping[str, str]
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when the supervisor dies without stopping it."""
    files: tuple[int, ...] = ()
    """Open files that it is to hold as well."""


class Running:
    """One process of a program, in a session of its own: a Ctrl-C at the terminal reaches the supervisor alone."""

    def __init__(self, program: Program) -> None:
        """Start it.

        :raises OSError: if the system starts no more processes.
        """
        self.program = program
        self.started = time.monotonic()
        self._rest = b""
        self._process = subprocess.Popen(
            leashed(program.command, program.orphan_signal),
            cwd=program.cwd,
            env=dict(program.environment),
            pass_fds=program.files,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.output = self._process.stdout.fileno()
        #: Whether it has closed its output: there will be no more lines.
        self.silent = False
        os.set_blocking(self.output, False)

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    def lines(self) -> Iterator[str]:
        """Yield the lines that it has written since the last call, without waiting; all the rest once it has ended."""
        while True:
            try:
                read = os.read(self.output, _READ_BYTES)
            except BlockingIOError:
                break
            *whole, self._rest = (self._rest + read).split(b"\n")
            if not read or len(self._rest) >= _READ_BYTES:
                whole, self._rest = ([*whole, self._rest] if self._rest else whole), b""
            for line in whole:
                yield line.decode(errors="replace").rstrip("\r")
            if not read:
                self.silent = True
                break

    def ended(self) -> bool:
        """Tell whether the process has ended; if so, end at once what is left of its group.

        What a killed process leaves behind would hold its port, or go on with a job that is no longer its own.
        """
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self.signal(signal.SIGKILL)  # before it is reaped: its group's number cannot belong to anybody else yet
        self._process.wait()
        return True

    def close(self) -> None:
        """Let go of its output, once it has ended and its lines are read."""
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def how_it_ended(self) -> str:
        """Its end in words, such as ``ended with exit code 1`` or ``was killed by SIGKILL``."""
        code = self._process.returncode
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process alone: it knows how to stop its children."""
        with suppress(ProcessLookupError):  # not Popen.send_signal, which would reap it past `ended`
            os.kill(self.pid, signal.SIGTERM)
            os.kill(self.pid, signal.SIGCONT)  # a frozen process would not see the first

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all its descendants."""
        with suppress(ProcessLookupError, PermissionError):  # macOS denies a group of which only a zombie is left
            os.killpg(self.pid, number)
