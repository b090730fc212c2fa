"""In the pool: runs jobs through Celery's tracer and encodes how they ended.

Everything here runs in a pool child (prefork) or in a pool thread. The outcome goes back to the worker's main process,
which alone settles it with the store.
"""

import json
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from billiard.common import terminate_handler_fired
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery import Celery, states
from celery.app.task import Context
from celery.exceptions import Ignore, Reject, Retry
from kombu.serialization import prepare_accept_content

from backroom.engine import current, messages
from backroom.engine.board import Board
from backroom.engine.consequences import announce_failure
from backroom.engine.current import JobStopped, Wish
from backroom.engine.deferral import Deferral
from backroom.engine.errors import error_text, failure_text, plain_error
from backroom.engine.reporting import reporter
from backroom.engine.retrying import next_delay_ms
from backroom.model.backoff import milliseconds_of
from backroom.settings import Settings
from backroom.store.execution import Outcome, encode_outcome

__all__ = [
    "STOP_SIGNAL",
    "TIMEOUT_MESSAGE",
    "Finished",
    "Wire",
    "enter_child",
    "prepare",
    "read_record",
    "run_jobs",
    "running_here",
    "this_pool",
]

logger = logging.getLogger(__name__)

#: Sent to a pool child when the board asks something of the job that it runs. Celery and billiard have uses for others.
STOP_SIGNAL = signal.SIGUSR2
TIMEOUT_MESSAGE = "ran longer than its timeout"


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
    #: The id of the request that submitted it.
    request_id: str


class Finished(NamedTuple):
    """A job on its way back."""

    id: str
    #: `backroom.store.execution.OutcomeKind`.
    kind: str
    #: How long it ran, in seconds.
    seconds: float
    #: The encoded outcome.
    outcome: bytes


#: A `Finished` from its record on the board.
read_record = msgspec.msgpack.Decoder(Finished).decode
_write_record = msgspec.msgpack.Encoder().encode


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
    #: Whether the slots are processes.
    forked: bool


_pool: Pool | None = None
#: The jobs that run in this process, by id and token: how the main process reaches into threads.
running_here: dict[tuple[str, str], current.RunningJob] = {}
#: In a child: the place and index on the board of the job whose code runs, which may be interrupted.
_interruptible: tuple[int, int] | None = None


def prepare(app: Celery, hostname: str, settings: Settings, url: str, *, forked: bool) -> Pool:
    """Called in the worker's main process before the pool starts. ``url``: the Redis URL of the job store."""
    global _pool  # noqa: PLW0603 - one process serves one worker
    accept = frozenset(prepare_accept_content(app.conf.accept_content or ("json",)))
    _pool = Pool(app, hostname, settings, url, Board(), accept, forked)
    return _pool


def this_pool() -> Pool:
    """What `prepare` set."""
    if _pool is None:
        raise RuntimeError("this process is not a Backroom worker")
    return _pool


def enter_child() -> None:
    """Called in a new pool child."""
    signal.signal(STOP_SIGNAL, _on_stop_signal)


def _on_stop_signal(_number: int, _frame: object) -> None:
    if _interruptible is not None:
        _heed(*_interruptible)


def _heed(place: int, index: int) -> None:
    """Raise what the job is asked, if it is."""
    wish = this_pool().board.wish(place, index)
    if wish == Wish.SOFT:
        raise SoftTimeLimitExceeded
    if wish:
        raise JobStopped(Wish(wish))


@contextmanager
def _listening(pool: Pool, place: int, index: int) -> Iterator[None]:
    """While the job's own code runs in a child it may be interrupted; nothing else may."""
    global _interruptible  # noqa: PLW0603 - a child runs one job at a time
    if not pool.forked:
        yield
        return
    _interruptible = (place, index)
    try:
        _heed(place, index)  # the signal may have come too early
        yield
    finally:
        _interruptible = None


def run_jobs(place: int, wires: list[Wire]) -> list[Finished]:
    """Run jobs one after another; those that the worker took back (see `backroom.engine.board`) are left out."""
    pool = this_pool()
    finished = []
    for index, wire in enumerate(wires):
        if not pool.board.begin(place, index):
            break
        job = Wire(*wire)
        try:
            ended = _run_one(pool, job, place, index)
        except Exception as error:
            # A bug of ours must cost this job one try, not the others of its message theirs.
            logger.exception("job %s could not be run", job.id)
            text = error_text(error, attempt=job.made + 1)
            outcome = Outcome(id=job.id, token=job.token, outcome="failed", error=text)
            ended = Finished(job.id, "failed", 0.0, encode_outcome(outcome))
        finished.append(ended)
        # A child may die with its results, and whatever comes next in the message may be long.
        if (pool.forked or len(wires) > 1) and not pool.board.record(place, _write_record(ended)):
            break  # too much to lose, or to keep waiting: deliver what there is
    return finished


def _run_one(pool: Pool, wire: Wire, place: int, index: int) -> Finished:
    job = current.RunningJob(
        job_id=wire.id,
        name=wire.name,
        queue=wire.queue,
        token=wire.token,
        attempt=wire.made + 1,
        options=json.loads(wire.options) if wire.options else {},
        reporter=reporter(pool.url, pool.settings),
        most_lines=pool.settings.max_log_lines,
        traceparent=wire.traceparent,
        request_id=wire.request_id,
    )
    key = (wire.id, wire.token)
    running_here[key] = job
    started = time.perf_counter()
    try:
        with current.running(job):
            ended = _trace(pool, wire, job, place, index)
    finally:
        running_here.pop(key, None)
        seconds = time.perf_counter() - started
        progress, lines = job.finish()
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
        children=job.children,
        staged=job.staged if ended.kind in {"retry", "replaced"} else None,
    )
    return Finished(wire.id, ended.kind, seconds, encode_outcome(outcome))


class Try(NamedTuple):
    """A job while Celery's tracer has it."""

    task: Any
    request: dict[str, Any]
    args: Any
    kwargs: Any
    job: current.RunningJob


def _trace(  # noqa: PLR0911 - one answer an ending
    pool: Pool, wire: Wire, job: current.RunningJob, place: int, index: int
) -> Ended:
    """Run the task through Celery's tracer and say how it ended."""
    task = pool.app.tasks[wire.name]
    try:
        celery = messages.celery_part(wire.celery)
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
        priority=int(job.options.get("priority", 0)),
        hostname=pool.hostname,
        celery=celery,
        embed=embed,
    )
    this = Try(task, request, args, kwargs, job)
    try:
        with _listening(pool, place, index):
            _, info, _, _ = task.__trace__(wire.id, args, kwargs, request)
    except JobStopped as stopped:
        return _stopped(stopped.why, this)
    except Reject as rejected:
        return _rejected(rejected, job)
    except BaseException as error:
        if pool.forked and terminate_handler_fired():
            raise  # this process is being ended from outside, and the job is lost with it
        wish = _asked(pool, job, place, index)
        # SystemExit and the like are a failed try, not the end of the pool.
        return _failed(error, error_text(error, attempt=job.attempt), this) if wish is None else _stopped(wish, this)
    if info is None:
        if job.heeded:  # it looked, saw that it was cancelled, and returned
            return _stopped(Wish.CANCELLED, this)
        if job.staged:  # `self.retry(throw=False)`: it returned, and goes on all the same
            return _staged_retry(job, plain_error("Retry", "asked to be tried again", attempt=job.attempt))
        if job.result is None:  # the tracer leaves out the backend where results are ignored
            job.result = "null"
        return Ended("completed")
    # An exception: its own, or one on its way out after it was asked to end.
    wish = _asked(pool, job, place, index)
    return _classify(info, this, from_celery=celery is not None) if wish is None else _stopped(wish, this, told=True)


def _asked(pool: Pool, job: current.RunningJob, place: int, index: int) -> Wish | None:
    """Whether the job was asked to end, and why."""
    if not pool.forked:
        return job.stop
    wish = pool.board.wish(place, index)
    return None if wish in {0, Wish.SOFT} else Wish(wish)


def _classify(info: Any, this: Try, *, from_celery: bool) -> Ended:
    error, job = info.retval, this.job
    if info.state == states.RETRY and isinstance(error, Retry):
        return _retry(error, job)
    if info.state == states.IGNORED or isinstance(error, Ignore):
        return _ignored(job)
    if isinstance(error, Reject):
        return _rejected(error, job)
    text = error_text(error, attempt=job.attempt)
    tried = "timeout" if isinstance(error, SoftTimeLimitExceeded) else None
    if job.staged:
        return _staged_retry(job, text)
    if not from_celery and not getattr(this.task, "takes_data", False):
        # A plain Celery task that came over HTTP: its options ask for retries that its own code does not know of.
        delay = next_delay_ms(job.options, job.attempt, error, None)
        if delay is not None:
            return Ended("retry", text, delay, tried)
    return Ended("failed", text, tried=tried)


def _ignored(job: current.RunningJob) -> Ended:
    """Celery's ``Ignore``: the job has replaced itself, or said itself how it ended, or has nothing to say."""
    if job.staged or job.expects:
        return Ended("replaced", delay=_staged_delay(job))
    if job.verdict is not None:
        return Ended("failed", failure_text(job.verdict, attempt=job.attempt))
    job.result = job.result or "null"
    return Ended("completed")


def _staged_retry(job: current.RunningJob, error: str) -> Ended:
    return Ended("retry", error, _staged_delay(job))


def _staged_delay(job: current.RunningJob) -> int:
    return max(0, milliseconds_of(job.staged_for - time.time()))


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
        return milliseconds_of(when)
    due: float = when.timestamp()
    return milliseconds_of(due - time.time())


def _rejected(rejected: Reject, job: current.RunningJob) -> Ended:
    text = error_text(rejected, attempt=job.attempt)
    return Ended("retry-after", text, 0) if rejected.requeue else Ended("failed", text)


def _stopped(why: Wish, this: Try, *, told: bool = False) -> Ended:
    """The job was asked to end, and did. ``told``: Celery's tracer has seen it fail."""
    attempt = this.job.attempt
    if why is not Wish.TIMEOUT:
        return Ended("cancelled", plain_error("Cancelled", "cancelled while it ran", attempt=attempt))
    text = plain_error("TimeLimitExceeded", TIMEOUT_MESSAGE, attempt=attempt)
    return _failed(TimeLimitExceeded(TIMEOUT_MESSAGE), text, this, tried="timeout", told=told)


def _failed(error: BaseException, text: str, this: Try, *, tried: str | None = None, told: bool = False) -> Ended:
    """The try has failed in a way that Celery's tracer does not know, or has not ``told`` others of."""
    job = this.job
    delay = next_delay_ms(job.options, job.attempt, error, getattr(this.task, "custom_backoff", None))
    if delay is not None:
        return Ended("retry", text, delay, tried)
    try:
        if not told:
            announce_failure(this.task, Context(this.request, args=this.args, kwargs=this.kwargs), error)
    except Exception:
        logger.exception("the failure of job %s could not be told to the tasks that depend on it", job.id)
    return Ended("failed", text, tried=tried)
