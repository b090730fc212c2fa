"""A worker with the jobs of the stack and two more, which wait and fail as a test tells them to.

``OFFICE_FOLDER`` is the folder of the files that jobs wait for.
"""

import logging
import os
import time
from pathlib import Path
from typing import Any

from backroom import current_job, job
from backroom.engine.app import create_app, import_jobs
from services.worker import jobs

log = logging.getLogger(__name__)

app = create_app("office")
app.set_default()
import_jobs(jobs)

FOLDER = Path(os.environ["OFFICE_FOLDER"])
LOOK_SECONDS = 0.02


@job("gate")
def gate(data: dict[str, Any]) -> str:
    """Say that it waits, wait for a file, and say that it may go on."""
    log.info("waiting for %s", data["for"])
    current_job.progress(40, "at the gate")
    while not (FOLDER / data["for"]).exists():
        time.sleep(LOOK_SECONDS)
    log.info("through")
    return "through"


@job("fail", attempts=2)
def fail(data: dict[str, Any]) -> None:
    """Fail with the words it is given."""
    raise ValueError(data["words"])
