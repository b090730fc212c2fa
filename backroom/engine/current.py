"""The job that runs in this thread, and what code inside it may say and ask."""

import enum
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from backroom.engine.errors import clean
from backroom.model.options import JobOptions

__all__ = [
    "CurrentJob",
    "JobStopped",
    "NullReporter",
    "Reporter",
    "RunningJob",
    "Wish",
    "current_job",
    "options_of",
    "running",
    "running_job",
    "set_options",
]

#: Longer log messages are cut, in characters.
MAX_LOG_MESSAGE = 16_384
#: The most log text of a job that waits to be reported, in characters; the newest lines are kept.
MAX_UNREPORTED = 1_000_000
#: How old the answer to "is it cancelled?" may be, in seconds.
CANCEL_CHECK_SECONDS = 1.0
#: Progress is in per cent.
WHOLE = 100


class Wish(enum.IntEnum):
    """What a worker may ask of a running job."""

    #: Someone wants it cancelled.
    CANCELLED = 1
    #: It has run longer than its timeout.
    TIMEOUT = 2
    #: It was given to another worker.
    LOST = 3
    #: It has run longer than its soft timeout.
    SOFT = 4


class JobStopped(BaseException):
    """Raised in a job that was cancelled or ran out of time.

    In a thread at its next call to ``current_job``, else at once. Not an `Exception`, so that
    ``except Exception`` in a job does not swallow it.
    """

    def __init__(self, why: Wish) -> None:
        self.why = why
        super().__init__(f"the job was stopped: {why.name.lower()}")


class Reporter(Protocol):
    """Sends what a running job says to the store."""

    def note(self, job: "RunningJob") -> None:
        """The job has something unreported."""

    def is_cancelled(self, job: "RunningJob") -> bool:
        """Ask whether someone wants the job cancelled."""

    def expect(self, job: "RunningJob") -> None:
        """The job will go on as something that other jobs bring."""


class NullReporter:
    """For jobs that run outside a worker: nothing is stored."""

    def note(self, job: "RunningJob") -> None:
        """Keep it in memory."""

    def is_cancelled(self, job: "RunningJob") -> bool:  # noqa: ARG002 - nobody can cancel it
        """Nobody can."""
        return False

    def expect(self, job: "RunningJob") -> None:
        """Nobody will bring it."""


class RunningJob:
    """A job while it runs. Its parts may be touched by the reporter's thread too, hence the locks."""

    def __init__(
        self,
        *,
        job_id: str,
        name: str,
        queue: str,
        token: str,
        attempt: int,
        options: dict[str, Any],
        reporter: Reporter,
        most_lines: int = 1000,
        traceparent: str = "",
        request_id: str = "",
    ) -> None:
        self.id, self.name, self.queue, self.token, self.attempt = job_id, name, queue, token, attempt
        #: Where it comes from: W3C Trace Context, and the id of the request that submitted it; "": not known.
        self.traceparent, self.request_id = traceparent, request_id
        #: The options of the job, in JSON's words.
        self.options = options
        #: JSON text of the result, once the task has returned.
        self.result: str | None = None
        #: Set by the worker to stop the job (threads pool): why.
        self.stop: Wish | None = None
        #: Whether its own code runs, and not only the machinery around it.
        self.inside = False
        #: What it goes on as under its id, if this try has said so: JSON text (see `backroom.store.execution.Outcome`).
        self.staged: str | None = None
        #: When that may start, in seconds since 1970; 0: at once.
        self.staged_for = 0.0
        #: Others will bring what it goes on as.
        self.expects = False
        #: What it has said of its failure itself (``update_state(state="FAILURE")``), for when it ends in ``Ignore``.
        self.verdict: Any = None
        #: JSON text: the results of the tasks that it has published.
        self.children: str | None = None
        self._printed: dict[str, str] = {}  # by stream: what is not a whole line yet
        #: Whether it was told that it is cancelled.
        self.heeded = False
        self._reporter, self._most_lines = reporter, most_lines
        self._lock = threading.Lock()
        self._progress: str | None = None
        self._lines: deque[str] = deque()
        self._size = 0
        self._reporting = threading.Lock()
        self._finished = False
        self._asked_at = float("-inf")

    def checkpoint(self) -> None:
        """Raise `JobStopped` if the worker wants the job stopped."""
        if self.stop is not None:
            raise JobStopped(self.stop)

    def progress(self, percent: float, message: str | None = None, **more: Any) -> None:
        """Say how far the job is: 0 to 100."""
        self.checkpoint()
        number: object = percent  # jobs are not type-checked before they run
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= WHOLE:
            raise ValueError(f"progress is a number from 0 to 100, not {percent!r}")
        self.set_progress({"percent": percent, "message": None if message is None else clean(str(message)), **more})

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
            "logger": clean(logger),
            "message": clean(message[:MAX_LOG_MESSAGE]),
            "attempt": self.attempt,
        }
        text = json.dumps(line, separators=(",", ":"))
        with self._lock:
            self._lines.append(text)
            self._size += len(text)
            while len(self._lines) > self._most_lines or self._size > MAX_UNREPORTED:
                self._size -= len(self._lines.popleft())
        self._reporter.note(self)

    def print(self, text: str, stream: str, level: str) -> None:
        """Add what was printed to the job's log, line by line."""
        *lines, rest = (self._printed.get(stream, "") + text).split("\n")
        if len(rest) >= MAX_LOG_MESSAGE:
            lines.append(rest)
            rest = ""
        self._printed[stream] = rest
        for line in lines:
            if line:
                self.log(level, stream, line)

    def report(self, send: Callable[[str | None, list[str]], bool]) -> bool:
        """Have what is unreported sent, unless the job has ended: then its outcome takes it along.

        ``send(progress, lines)`` says whether that worked. False: it did not, and is to be tried again.
        """
        with self._reporting:
            if self._finished:
                return True
            progress, lines = self._take()
            if progress is None and not lines:
                return True
            if send(progress, lines):
                return True
            with self._lock:
                self._progress = self._progress if self._progress is not None else progress
                self._lines.extendleft(reversed(lines))
                self._size += sum(map(len, lines))
            return False

    def finish(self) -> tuple[str | None, list[str]]:
        """The job has ended: the newest progress and the log lines that were not reported, for its outcome.

        Waits for a report that is under way: it would be refused once the outcome is settled.
        """
        for stream in [stream for stream, rest in self._printed.items() if rest]:
            self.print("\n", stream, "INFO")
        with self._reporting:
            self._finished = True
            return self._take()

    def _take(self) -> tuple[str | None, list[str]]:
        with self._lock:
            progress, lines = self._progress, list(self._lines)
            self._progress, self._size = None, 0
            self._lines.clear()
        return progress, lines

    @property
    def cancelled(self) -> bool:
        """Whether someone wants the job to end; asks the store at most once a second."""
        now = time.monotonic()
        if not self.heeded and self.stop is None and now - self._asked_at >= CANCEL_CHECK_SECONDS:
            self._asked_at = now
            self.heeded = self._reporter.is_cancelled(self)
        if self.stop is not None:
            self.heeded = True
        return self.heeded

    def stage(self, *, name: str, data: str, celery: str, queue: str, start_at: float) -> None:
        """Keep what the job goes on as (``self.retry(...)``, ``self.replace(...)``); it travels with the outcome."""
        new = {"name": name, "data": data, "celery": celery} | ({"queue": queue} if queue != self.queue else {})
        self.staged, self.staged_for = json.dumps(new), start_at

    def expect(self) -> None:
        """Others will bring what the job goes on as (``self.replace(a chain or chord)``). Raises `StoreUnavailable`."""
        if not self.expects:
            self._reporter.expect(self)
            self.expects = True


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

    @property
    def traceparent(self) -> str | None:
        """The W3C Trace Context that it was submitted with, for calls to others; None: there was none."""
        return self._job().traceparent or None

    @property
    def request_id(self) -> str | None:
        """The id of the request that submitted it; None: it was not submitted over HTTP."""
        return self._job().request_id or None

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
        """Whether someone wants the job cancelled: threads should look now and then; pool children are killed."""
        return self._job().cancelled


current_job = CurrentJob()


_options: dict[str, JobOptions] = {}


def set_options(name: str, options: JobOptions) -> None:
    """Remember the default options of a job type, for jobs that are submitted from this process."""
    _options[name] = options


def options_of(name: str) -> JobOptions | None:
    """The default options of a job type that this process knows, or None."""
    return _options.get(name)
