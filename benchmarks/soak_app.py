"""The jobs of the soak: each run leaves a line in a file, so that runs can be counted whatever the store says."""

import os
import signal
import time
from typing import Any

from backroom import current_job, job
from backroom.engine.app import create_app

__all__ = ["app"]

app = create_app("soak")
app.set_default()

#: Where runs are noted: ``id attempt begun|ended``, one line each; short lines are appended whole.
_DIARY = os.environ.get("SOAK_DIARY", os.devnull)


def _note(what: str) -> None:
    with open(_DIARY, "a", encoding="ascii") as diary:  # noqa: PTH123 - appending is all that is done
        diary.write(f"{current_job.id} {current_job.attempt} {what}\n")


@job("soak", attempts=3, backoff=None, max_stalled=50)
def soak(data: dict[str, Any]) -> dict[str, int]:
    """Sleep or compute for ``ms``, and fail the first ``failures`` tries."""
    _note("begun")
    until = time.monotonic() + data["ms"] / 1000
    if data.get("busy"):
        while time.monotonic() < until:
            pass
    else:
        time.sleep(data["ms"] / 1000)
    if current_job.attempt <= data.get("failures", 0):
        raise RuntimeError("as it was told")
    _note("ended")
    return {"attempt": current_job.attempt}


@job("soak-poison", queue="soak-poison")
def soak_poison(_: dict[str, Any]) -> None:
    """End the process that runs it, each time: a child of the pool."""
    _note("begun")
    os.kill(os.getpid(), signal.SIGKILL)


@job("soak-tick", max_stalled=50)
def soak_tick(_: dict[str, Any]) -> None:
    """What the schedule of the soak makes."""
    _note("ended")
