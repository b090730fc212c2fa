"""One terminal for many processes: whole lines, each behind the name of the process that wrote it."""

import os
import sys
import threading
from typing import Final

__all__ = ["Console"]

_COLOURS: Final = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
"""SGR codes, handed out in the order in which the processes first speak."""


class Console:
    """Writes lines to standard output, from any thread."""

    def __init__(self, width: int) -> None:
        """Write names in a column of this many characters."""
        self._width = width
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._colours: dict[str, str] = {}
        self._turn = threading.Lock()
        #: Whether nobody reads standard output any more.
        self.gone = False

    def line(self, name: str, text: str) -> None:
        """Write one line of a process."""
        prefix = f"{name:<{self._width}} | "
        with self._turn:
            if self._coloured:
                colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
                prefix = f"\033[{colour}m{prefix}\033[0m"
            self._write(f"{prefix}{text}\n")

    def notice(self, text: str) -> None:
        """Write lines of the supervisor's own, set apart from what the processes say."""
        with self._turn:
            self._write(f"\n{text}\n\n")

    def _write(self, text: str) -> None:
        if self.gone:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:  # the reader of the pipe has ended, or the terminal is closed
            self.gone = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at exit
