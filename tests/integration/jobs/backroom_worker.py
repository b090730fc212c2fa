"""A real worker with the jobs of the stack, and how tests submit to it and wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backroom.model.job import Job, new_job
from backroom.model.options import parse_options
from backroom.model.states import FINISHED
from backroom.store.events import EventId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backroom.store import Event, Store

__all__ = ["JobBoard", "worker"]

ROOT = Path(__file__).parents[3]
#: A worker that has not started, or a job that has not ended, after this many seconds never will.
PATIENCE = 45.0


class JobBoard:
    """What a caller of the stack sees: submits jobs and reads how they fare."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = "0-0"
        self._events: list[Event] = []

    def submit(self, name: str, data: dict[str, Any], **options: Any) -> str:
        """Submit a job as the API does: to its type's queue, with its type's defaults; the answer is its id."""
        job_type = self._store.job_types.get(name)
        assert job_type is not None, f"no worker offers {name}"
        merged = parse_options(options).merged(parse_options(job_type.defaults))
        (submitted,) = self._store.submission.submit(
            [new_job(name=name, data=data, queue=job_type.queue, options=merged)]
        )
        return submitted.id

    def wait_for(self, happened: Callable[[Event], bool]) -> Event:
        """The first event since the start for which ``happened``, waiting for it if it is yet to come."""
        deadline = time.monotonic() + PATIENCE
        position = 0
        while True:
            for event in self._events[position:]:
                if happened(event):
                    return event
            position = len(self._events)
            assert time.monotonic() < deadline, f"it never happened; what did: {self._events}"
            new = self._store.events.read(self._seen, block_ms=1000)
            self._events += new
            self._seen = new[-1].id if new else self._seen

    def finished(self, job_id: str, *, after: str = "") -> Job:
        """The job, once it is finished, and that later than the event with the id ``after``."""
        finals = {str(state) for state in FINISHED}
        behind = EventId.parse(after or "0-0")
        self.wait_for(
            lambda event: event.job_id == job_id and event.type in finals and EventId.parse(event.id) > behind
        )
        return self._store.inspection.get(job_id, attempts=True)

    def result(self, job_id: str, *, after: str = "") -> dict[str, Any]:
        """The result of the job, once it is completed, and that later than the event ``after``."""
        job = self.finished(job_id, after=after)
        assert job.state == "completed", job.error
        result: dict[str, Any] = job.result
        return result


@contextmanager
def worker(store: Store, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A worker of two processes that serves every queue; ready when it offers its job types."""
    output = folder / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "services.worker.app", "worker", "--pool", "prefork"]
    command += ["--concurrency", "2", "--hostname", "worker-1@%h", "--loglevel", "INFO"]
    with output.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (store.job_types.list() and store.workers.list()):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            store.events.read("$", block_ms=100)
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
