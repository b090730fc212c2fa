"""The job that runs in this thread, and what code inside it may say and ask."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from backroom.model.options import JobOptions

__all__ = [
    "CurrentJob",
    "JobStopped",
    "LogCapture",
    "NullReporter",
    "Reporter",
    "RunningJob",
    "current_job",
    "options_of",
    "running",
    "running_job",
    "set_options",
]

#: Longer log messages are cut, in characters.
MAX_LOG_MESSAGE = 16_384
#: Between two reports of the same job to the store, in seconds; what comes in between goes together.
REPORT_SECONDS = 0.25
#: How old the answer to "is it cancelled?" may be, in seconds.
CANCEL_CHECK_SECONDS = 1.0


class JobStopped(BaseException):
    """Raised in a job of the threads pool, at its next call to ``current_job``, when it was cancelled or ran out of time.

    Not an `Exception`, so that ``except Exception`` in a job does not swallow it.
    """

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"the job was stopped: {why}")


class Reporter(Protocol):
    """Sends what a running job says to the store."""

    def note(self, job: "RunningJob") -> None:
        """The job has something unreported."""

    def is_cancelled(self, job: "RunningJob") -> bool:
        """Ask whether someone wants the job cancelled."""

    def stage(self, job: "RunningJob", *, name: str, data: str, celery: str) -> None:
        """Keep what the next try of the job is given."""


class NullReporter:
    """For jobs that run outside a worker: nothing is stored."""

    def note(self, job: "RunningJob") -> None:
        """Keep it in memory."""

    def is_cancelled(self, job: "RunningJob") -> bool:  # noqa: ARG002 - nobody can cancel it
        """Nobody can."""
        return False

    def stage(self, job: "RunningJob", *, name: str, data: str, celery: str) -> None:
        """There is no next try."""


class RunningJob:
    """A job while it runs. Its parts may be touched by the reporter's thread too, hence the lock."""

    def __init__(
        self, *, job_id: str, name: str, queue: str, token: str, attempt: int, options: dict[str, Any], reporter: Reporter
    ) -> None:
        self.id, self.name, self.queue, self.token, self.attempt = job_id, name, queue, token, attempt
        #: The options of the job, in JSON's words.
        self.options = options
        #: JSON text of the result, once the task has returned.
        self.result: str | None = None
        #: Set by the worker to stop the job (threads pool): why.
        self.stop: str | None = None
        #: Whether it left something for its next try.
        self.staged = False
        self._reporter = reporter
        self._lock = threading.Lock()
        self._progress: str | None = None
        self._lines: list[str] = []
        self._asked_at = float("-inf")
        self._cancelled = False

    def checkpoint(self) -> None:
        """Raise `JobStopped` if the worker wants the job stopped."""
        if self.stop is not None:
            raise JobStopped(self.stop)

    def progress(self, percent: float, message: str | None = None, **more: Any) -> None:
        """Say how far the job is: 0 to 100."""
        self.checkpoint()
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:  # noqa: PLR2004 - per cent
            raise ValueError(f"progress is a number from 0 to 100, not {percent!r}")
        self.set_progress({"percent": percent, "message": message, **more})

    def set_progress(self, value: dict[str, Any]) -> None:
        """Replace the progress record."""
        text = json.dumps(value, separators=(",", ":"))
        with self._lock:
            self._progress = text
        self._reporter.note(self)

    def log(self, level: str, logger: str, message: str) -> None:
        """Add a line to the job's log."""
        line = {
            "at": int(time.time() * 1000),
            "level": level,
            "logger": logger,
            "message": message[:MAX_LOG_MESSAGE],
            "attempt": self.attempt,
        }
        text = json.dumps(line, separators=(",", ":"))
        with self._lock:
            self._lines.append(text)
        self._reporter.note(self)

    def take_unreported(self) -> tuple[str | None, list[str]]:
        """The newest progress and the log lines that were not reported; they count as reported from now on."""
        with self._lock:
            progress, lines = self._progress, self._lines
            self._progress, self._lines = None, []
        return progress, lines

    def give_back(self, progress: str | None, lines: list[str]) -> None:
        """Undo `take_unreported` after a failed report."""
        with self._lock:
            self._progress = self._progress if self._progress is not None else progress
            self._lines = lines + self._lines

    @property
    def cancelled(self) -> bool:
        """Whether someone wants the job cancelled; asks the store at most once a second."""
        if self.stop is not None or self._cancelled:
            return True
        now = time.monotonic()
        if now - self._asked_at >= CANCEL_CHECK_SECONDS:
            self._asked_at = now
            self._cancelled = self._reporter.is_cancelled(self)
        return self._cancelled

    def stage(self, *, name: str, data: str, celery: str) -> None:
        """Keep what the next try is given (``self.retry(args=...)``, ``self.replace(...)``)."""
        self._reporter.stage(self, name=name, data=data, celery=celery)


_here = threading.local()


def running_job() -> RunningJob | None:
    """The job that runs in this thread, or None."""
    return getattr(_here, "job", None)


@contextmanager
def running(job: RunningJob) -> Iterator[RunningJob]:
    """Make ``job`` the one that runs in this thread."""
    before = running_job()
    _here.job = job
    try:
        yield job
    finally:
        _here.job = before


class CurrentJob:
    """`current_job`: the job that this code runs in. Outside a job everything raises `RuntimeError`."""

    @staticmethod
    def _job() -> RunningJob:
        job = running_job()
        if job is None:
            raise RuntimeError("no job runs here: current_job is for code that runs inside a job")
        return job

    @property
    def id(self) -> str:
        """The job's id."""
        return self._job().id

    @property
    def name(self) -> str:
        """The job's type."""
        return self._job().name

    @property
    def queue(self) -> str:
        """The queue the job came from."""
        return self._job().queue

    @property
    def attempt(self) -> int:
        """The number of this try; the first is 1."""
        return self._job().attempt

    def progress(self, percent: float, message: str | None = None) -> None:
        """Say how far the job is, 0 to 100, with a word to people. Raises `ValueError` for other numbers."""
        self._job().progress(percent, message)

    def log(self, text: str) -> None:
        """Add a line to the job's log; the ordinary ``logging`` of a job goes there too."""
        job = self._job()
        job.checkpoint()
        job.log("INFO", job.name, str(text))

    @property
    def cancelled(self) -> bool:
        """Whether someone wants the job cancelled. Under prefork the job is killed anyway; threads should look now and then."""
        return self._job().cancelled


current_job = CurrentJob()


class LogCapture(logging.Handler):
    """Puts ordinary log records into the log of the job that runs in their thread."""

    #: Loggers of the machinery: what they say is not the job's.
    _MACHINERY = ("celery.", "kombu", "amqp", "backroom.", "redis")
    #: ``print`` in a job, which Celery redirects.
    _PRINTED = "celery.redirected"

    def emit(self, record: logging.LogRecord) -> None:
        """Add the record to the running job's log, if a job runs and the record is its."""
        job = running_job()
        if job is None or (record.name.startswith(self._MACHINERY) and record.name != self._PRINTED):
            return
        try:
            message = record.getMessage()
            if record.exc_info:
                message += "\n" + logging.Formatter().formatException(record.exc_info)
            level = "INFO" if record.name == self._PRINTED else record.levelname
            job.log(level, "print" if record.name == self._PRINTED else record.name, message)
        except Exception:  # noqa: BLE001 - logging must never fail the job; this is what logging's handlers do
            self.handleError(record)


_options: dict[str, JobOptions] = {}


def set_options(name: str, options: JobOptions) -> None:
    """Remember the default options of a job type, for jobs that are submitted from this process."""
    _options[name] = options


def options_of(name: str) -> JobOptions | None:
    """The default options of a job type that this process knows, or None."""
    return _options.get(name)
