"""Start a program that ends when the process that started it does.

Run as a script, never imported by the program it starts::

    python -IS leash.py PARENT_PID SIGNAL_NUMBER PROGRAM [ARGUMENT ...]

On Linux the kernel is asked to send the signal when the parent ends (``PR_SET_PDEATHSIG``, see prctl(2)), which holds
across the ``exec`` that follows; elsewhere the program is started without. A separate script does it, and not
``subprocess``'s ``preexec_fn``, because that one is unsafe (and warned about) in a process with threads. The signal is
tied to the *thread* that started the child: start leashed programs from a thread that lives as long as they should.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

__all__ = ["leashed"]

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def leashed(command: Sequence[str], end_with: signal.Signals) -> list[str]:
    """Return the command line that runs ``command`` on a leash held by the calling process.

    :param command: the program and its arguments.
    :param end_with: the signal it gets when the calling process (strictly: the thread that starts it) ends.
    """
    return [sys.executable, "-IS", __file__, str(os.getpid()), str(int(end_with)), *command]


def _main(arguments: Sequence[str]) -> None:
    parent, number, program = int(arguments[0]), int(arguments[1]), list(arguments[2:])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the request was made: nobody will send the signal
            sys.exit(0)
    try:
        os.execvp(program[0], program)  # noqa: S606 - replacing this process by the given program is its purpose
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    _main(sys.argv[1:])
