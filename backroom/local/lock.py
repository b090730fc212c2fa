"""One run a data folder."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from backroom.model.errors import BackroomError

__all__ = ["DataFolderInUse", "lock_data_folder"]

_LAST_BREATH_SECONDS: Final = 5.0
"""How long the store of a killed run may take to write its data and let go."""
_POLL_SECONDS: Final = 0.1


class DataFolderInUse(BackroomError):
    """Another run has this data folder."""


def lock_data_folder(data_dir: Path) -> int:
    """Make the data folder if need be, and lock it for this run.

    :returns: the open file that holds the lock; it is let go when all processes that hold the file have ended.
    :raises DataFolderInUse: if another run holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    held = os.open(data_dir / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LAST_BREATH_SECONDS
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(held, 20, 0).decode(errors="replace").strip()
            if not _runs(holder) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                continue
            os.close(held)
            message = f"the data folder {data_dir} is in use by another run (process {holder or 'unknown'})"
            raise DataFolderInUse(message) from None
        break
    os.truncate(held, 0)
    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    return held


def _runs(pid: str) -> bool:
    """Tell whether a process has this id; an empty text means one that is about to write its id."""
    try:
        os.kill(int(pid or 0), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
