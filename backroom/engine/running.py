"""In the pool: runs jobs through Celery's tracer and encodes how they ended.

Everything here runs in a pool child (prefork) or in a pool thread. The outcome goes back to the worker's main process, which
alone settles it with the store.
"""

import json
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, states
from celery.app.task import Context
from celery.exceptions import Ignore, Reject, Retry
from kombu.serialization import prepare_accept_content

from backroom.engine import current, messages
from backroom.engine.board import Board
from backroom.engine.deferral import Deferral
from backroom.engine.errors import error_text, plain_error
from backroom.engine.retrying import next_delay_ms
from backroom.model.errors import BackroomError
from backroom.settings import Settings
from backroom.store import Store, connect
from backroom.store.execution import Outcome, encode_outcome

__all__ = ["Finished", "Wire", "prepare", "run_jobs", "this_pool"]

logger = logging.getLogger(__name__)


class Wire(NamedTuple):
    """A job on its way to the pool: strings and numbers only, so that pickling it is cheap."""

    id: str
    name: str
    queue: str
    token: str
    data: str
    made: int
    stalled: int
    options: str
    celery: str
    traceparent: str


class Finished(NamedTuple):
    """A job on its way back."""

    id: str
    #: `backroom.store.execution.OutcomeKind`.
    kind: str
    #: How long it ran, in seconds.
    seconds: float
    #: The encoded outcome.
    outcome: bytes


class Ended(NamedTuple):
    """How a try ended, before it is encoded."""

    kind: str
    error: str | None = None
    delay: int | None = None
    tried: str | None = None


@dataclass(slots=True)
class Pool:
    """What pool code needs to know of its worker; set before the pool forks."""

    app: Celery
    hostname: str
    settings: Settings
    #: The Redis URL of the job store.
    url: str
    board: Board
    #: Content types that may be decoded.
    accept: frozenset[str]


_pool: Pool | None = None
#: The jobs that run in this process, by id: how the main process reaches into threads.
running_here: dict[str, current.RunningJob] = {}


def prepare(app: Celery, hostname: str, settings: Settings, url: str) -> Pool:
    """Called in the worker's main process before the pool starts. ``url``: the Redis URL of the job store."""
    global _pool  # noqa: PLW0603 - one process serves one worker
    accept = frozenset(prepare_accept_content(app.conf.accept_content or ("json",)))
    _pool = Pool(app, hostname, settings, url, Board(), accept)
    return _pool


def this_pool() -> Pool:
    """What `prepare` set."""
    if _pool is None:
        raise RuntimeError("this process is not a Backroom worker")
    return _pool


def run_jobs(place: int | None, wires: list[Wire]) -> list[Finished]:
    """Run jobs one after another; those that the worker took back (see `backroom.engine.board`) are left out."""
    pool = this_pool()
    finished = []
    for index, wire in enumerate(wires):
        if place is not None and not pool.board.begin(place, index):
            break
        job = Wire(*wire)
        try:
            finished.append(_run_one(pool, job))
        except Exception as error:
            # A bug of ours must cost this job one try, not a thread its message.
            logger.exception("job %s could not be run", job.id)
            text = error_text(error, attempt=job.made + 1)
            outcome = Outcome(id=job.id, token=job.token, outcome="failed", error=text)
            finished.append(Finished(job.id, "failed", 0.0, encode_outcome(outcome)))
    return finished


def _run_one(pool: Pool, wire: Wire) -> Finished:
    options = json.loads(wire.options) if wire.options else {}
    job = current.RunningJob(
        job_id=wire.id,
        name=wire.name,
        queue=wire.queue,
        token=wire.token,
        attempt=wire.made + 1,
        options=options,
        reporter=reporter(),
    )
    running_here[wire.id] = job
    started = time.perf_counter()
    try:
        with current.running(job):
            ended = _trace(pool, wire, job)
    finally:
        running_here.pop(wire.id, None)
    seconds = time.perf_counter() - started
    progress, lines = job.take_unreported()
    outcome = Outcome(
        id=wire.id,
        token=wire.token,
        outcome=ended.kind,  # type: ignore[arg-type]  # one of OutcomeKind
        result=job.result if ended.kind == "completed" else None,
        error=ended.error,
        delay=ended.delay,
        run=int(seconds * 1000),
        tried=ended.tried,
        progress=progress,
        logs=lines or None,
    )
    return Finished(wire.id, ended.kind, seconds, encode_outcome(outcome))


def _trace(pool: Pool, wire: Wire, job: current.RunningJob) -> Ended:
    """Run the task through Celery's tracer and say how it ended."""
    task = pool.app.tasks[wire.name]
    try:
        celery = json.loads(wire.celery) if wire.celery else None
        takes_data = getattr(task, "takes_data", False)
        args, kwargs, embed = messages.arguments_of(wire.data, celery, takes_data=takes_data, accept=pool.accept)
    except Exception as error:  # noqa: BLE001 - whatever cannot be decoded can never run
        return Ended("failed", error_text(error, attempt=job.attempt))
    request = messages.request_of(
        job_id=wire.id,
        name=wire.name,
        queue=wire.queue,
        made=wire.made,
        stalled=wire.stalled,
        hostname=pool.hostname,
        celery=celery,
        embed=embed,
    )
    try:
        outcome, info, _, _ = task.__trace__(wire.id, args, kwargs, request)
    except current.JobStopped as stopped:
        return _stopped(stopped, job)
    except Reject as rejected:
        return _rejected(rejected, job)
    except BaseException as error:  # noqa: BLE001 - SystemExit and the like are a failed try, not the end of the pool
        return _escaped(task, error, request, args, kwargs, job)
    if info is None:
        if job.result is None:  # the tracer leaves out the backend where results are ignored
            job.result = "null"
        return Ended("completed")
    del outcome
    return _classify(task, info, job, celery is not None)


def _classify(task: Any, info: Any, job: current.RunningJob, from_celery: bool) -> Ended:
    error = info.retval
    if info.state == states.RETRY and isinstance(error, Retry):
        return _retry(error, job)
    if info.state == states.IGNORED or isinstance(error, Ignore):
        # `self.replace` ends here: what it staged is the job's next form.
        if job.staged:
            return Ended("retry", plain_error("Replaced", "replaced itself", attempt=job.attempt), 0)
        job.result = "null"
        return Ended("completed")
    if isinstance(error, Reject):
        return _rejected(error, job)
    text = error_text(error, attempt=job.attempt)
    tried = "timeout" if isinstance(error, SoftTimeLimitExceeded) else None
    if not from_celery and not getattr(task, "takes_data", False):
        # A plain Celery task that came over HTTP: its options ask for retries that its own code does not know of.
        delay = next_delay_ms(job.options, job.attempt, error, None)
        if delay is not None:
            return Ended("retry", text, delay, tried)
    return Ended("failed", text, tried=tried)


def _retry(retry: Retry, job: current.RunningJob) -> Ended:
    cause = retry.exc if isinstance(retry.exc, BaseException) else retry
    text = error_text(cause, attempt=job.attempt)
    delay = max(0, _delay_ms(retry.when))
    if isinstance(retry, Deferral):
        return Ended(retry.kind, text, delay)
    return Ended("retry", text, delay, "timeout" if isinstance(cause, SoftTimeLimitExceeded) else None)


def _delay_ms(when: Any) -> int:
    if when is None:
        return 0
    if isinstance(when, int | float):
        return round(when * 1000)
    return round((when.timestamp() - time.time()) * 1000)


def _rejected(rejected: Reject, job: current.RunningJob) -> Ended:
    if rejected.requeue:
        return Ended(
            "retry-after", plain_error("Reject", f"rejected and requeued: {rejected.reason!r}", attempt=job.attempt), 0
        )
    return Ended("failed", plain_error("Reject", f"rejected: {rejected.reason!r}", attempt=job.attempt))


def _stopped(stopped: current.JobStopped, job: current.RunningJob) -> Ended:
    if stopped.why == "cancelled":
        return Ended("cancelled", plain_error("Cancelled", "cancelled while it ran", attempt=job.attempt))
    text = plain_error("TimeLimitExceeded", "ran longer than its timeout", attempt=job.attempt)
    delay = next_delay_ms(job.options, job.attempt, stopped, None)
    return Ended("failed" if delay is None else "retry", text, delay, "timeout")


def _escaped(
    task: Any, error: BaseException, request: dict[str, Any], args: Any, kwargs: Any, job: current.RunningJob
) -> Ended:
    """An exception that Celery's tracer lets through: SystemExit, KeyboardInterrupt, MemoryError, ..."""
    text = error_text(error, attempt=job.attempt)
    delay = next_delay_ms(job.options, job.attempt, error, getattr(task, "custom_backoff", None))
    if delay is not None:
        return Ended("retry", text, delay)
    context = Context(request, args=args, kwargs=kwargs)
    task.backend.mark_as_failure(job.id, error, request=context, store_result=False)
    return Ended("failed", text)


class _StoreReporter(threading.Thread):
    """Sends progress and log lines of running jobs to the store, a few times a second, from a thread of its own."""

    def __init__(self, url: str, settings: Settings) -> None:
        super().__init__(name="backroom-reporter", daemon=True)
        self._store = Store(connect(url, timeout=settings.redis_timeout_seconds), settings=settings)
        self._noted: dict[str, current.RunningJob] = {}
        self._wake = threading.Event()
        self._begun = False

    def note(self, job: current.RunningJob) -> None:
        """Report the job soon."""
        self._noted[job.id] = job
        if not self._begun:
            self._begun = True
            self.start()
        self._wake.set()

    def is_cancelled(self, job: current.RunningJob) -> bool:
        """Ask the store now; an unreachable store says no."""
        try:
            return self._store.execution.report(job.id, job.token) != "renewed"
        except BackroomError:
            return False

    def stage(self, job: current.RunningJob, *, name: str, data: str, celery: str) -> None:
        """Keep what the next try is given."""
        self._store.execution.stage(job.id, job.token, name=name, data=data, celery=celery)
        job.staged = True

    def run(self) -> None:
        """Report until the process ends."""
        while True:
            self._wake.wait()
            time.sleep(current.REPORT_SECONDS)
            self._wake.clear()
            while self._noted:
                try:
                    _, job = self._noted.popitem()
                except KeyError:
                    break
                self._report(job)

    def _report(self, job: current.RunningJob) -> None:
        if job.id not in running_here:  # it has ended, and took what was unreported along
            return
        progress, lines = job.take_unreported()
        if progress is None and not lines:
            return
        try:
            self._store.execution.report(job.id, job.token, progress=progress, logs=lines)
        except BackroomError:
            job.give_back(progress, lines)
            self._noted[job.id] = job
            self._wake.set()


_reporter: _StoreReporter | None = None
_reporter_pid = 0
_reporter_lock = threading.Lock()


def reporter() -> current.Reporter:
    """This process's reporter; a forked child makes its own."""
    global _reporter, _reporter_pid  # noqa: PLW0603 - one for each process
    if _reporter is None or _reporter_pid != os.getpid():
        with _reporter_lock:
            if _reporter is None or _reporter_pid != os.getpid():
                _reporter, _reporter_pid = _StoreReporter(this_pool().url, this_pool().settings), os.getpid()
    return _reporter
