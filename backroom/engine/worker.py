"""Makes a Celery worker a Backroom worker: connects the desk, the dispatcher and the pool.

Installed by `backroom.engine.transport` when a worker's broker is Backroom, so that an existing Celery application
needs nothing but its two URLs.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import billiard
from celery import Celery, bootsteps, signals
from celery.app.trace import build_tracer
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as ProcessPool
from celery.concurrency.solo import TaskPool as SoloPool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.exceptions import ImproperlyConfigured
from celery.worker.consumer import Consumer
from celery.worker.control import control_command
from celery.worker.state import maybe_shutdown

from backroom.engine import (
    endings,
    running,
    webhooks,  # noqa: F401 - its job is a task of every application that a worker of this process runs
)
from backroom.engine.capturing import capture
from backroom.engine.consequences import Herald
from backroom.engine.desk import Desk, jobs_of
from backroom.engine.dispatch import Dispatcher
from backroom.engine.jobs import job_types_of, schedules_of
from backroom.engine.queues import served_queues
from backroom.engine.request import JobRequest
from backroom.engine.urls import store_url
from backroom.model.job import INTERNAL_QUEUE
from backroom.settings import get_settings
from backroom.store import WorkerView
from backroom.store.execution import Claimed, Outcome, Served
from backroom.store.workers import Wish

__all__ = ["JobConsumer", "install"]

logger = logging.getLogger(__name__)

#: How long the worker may take to settle its last outcomes when it stops, even when its grace time is over, in seconds.
FINISH_SECONDS = 5.0
#: The longest pause between tries to reach a store that is away when the worker starts, in seconds.
LONGEST_PAUSE = 1.0
#: Celery's logger of every single task; at INFO it costs more than many a job.
_PER_TASK_LOGGERS = ("celery.app.trace", "celery.worker.strategy")


class JobConsumer(Consumer):
    """Celery's consumer. It keeps the connection for remote control; the desk has connections of its own."""

    desk_step: "DeskStep | None" = None

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for the store as long as it takes, without the ever longer pauses of Celery's own."""
        if not self.app.conf.broker_connection_retry:
            return super().ensure_connected(conn)

        def report(error: Exception, _interval: float) -> None:
            if not self.broker_connection_retry_attempt:
                logger.warning("the job store is away, trying again until it is there: %s", error)
            self.broker_connection_retry_attempt += 1

        conn.ensure_connection(report, None, LONGEST_PAUSE / 10, LONGEST_PAUSE / 10, LONGEST_PAUSE, maybe_shutdown)
        self.first_connection_attempt = False
        self.broker_connection_retry_attempt = 0
        return conn

    def on_close(self) -> None:
        """Celery lets its pool forget what no slot has accepted: take that back first, unless the worker stops."""
        step = self.desk_step
        if step is None or step.stopping:
            return
        step.suspend()
        super().on_close()
        self.hub.call_soon(step.resume)

    def cancel_active_requests(self) -> None:
        """A cold shutdown (SIGQUIT): do not wait for running jobs."""
        if self.desk_step is not None:
            self.desk_step.give_up_soon(exit_code=1)

    def add_task_queue(self, queue: str, *args: Any, **kwargs: Any) -> None:
        """``control add_consumer``."""
        super().add_task_queue(queue, *args, **kwargs)
        if self.desk_step is not None:
            self.desk_step.add_queue(queue)

    def cancel_task_queue(self, queue: str) -> None:
        """``control cancel_consumer``."""
        super().cancel_task_queue(queue)
        if self.desk_step is not None:
            self.desk_step.cancel_queue(queue)


class DeskStep(bootsteps.StartStopStep):
    """The worker's boot step that runs the desk."""

    requires = ("celery.worker.components:Pool",)  # the consumer is always last: it starts the event loop

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._settings = get_settings()
        self._worker = worker
        self._started_at = int(time.time() * 1000)
        self._desk: Desk | None = None
        self._dispatcher: Dispatcher
        self._herald: Herald | None = None
        self._state = "running"
        self._asked_to_stop = False
        self._give_up_at = 0.0
        self._limits = _limits_of(worker)
        #: Queue names, or None for every queue but those in `_without`. The internal queue is always among them, unless
        #: it is in `_without`.
        self._named: list[str] | None
        self._named, without = served_queues(worker.app.amqp.queues, direct=worker.app.conf.worker_direct)
        self._without = dict.fromkeys(without, True)

    # The life of the worker.

    def start(self, worker: Any) -> None:
        """Make everything ready; the pool runs and the consumer exists. Jobs are claimed once the event loop runs."""
        app, pool, hub = worker.app, running.this_pool(), worker.hub
        if not pool.forked:
            capture()
            # Pool children build their tracers themselves; in threads the consumer would, but later than the first job.
            for name, task in app.tasks.items():
                task.__trace__ = build_tracer(name, task, app.loader, worker.hostname, app=app)
        desk = Desk(
            worker=worker.hostname,
            url=pool.url,
            settings=self._settings,
            adopt=self._adopt,
            served=self._served,
            job_types=job_types_of(app),
            schedules=schedules_of(app),
            view=self._view,
        )
        self._dispatcher = Dispatcher(
            pool=worker.pool,
            board=pool.board,
            settings=self._settings,
            forked=pool.forked,
            settle=desk.settle,
            abandon=desk.abandon,
            # Only the pool of threads may be fed from any thread.
            feed=(lambda pump: pump()) if isinstance(worker.pool, ThreadPool) else hub.call_soon,
            roomier=desk.woken,
        )
        self._desk = desk
        worker.consumer.desk_step = self
        hub.call_soon(self._begin)

    def _begin(self) -> None:
        if self._desk is not None and not self.stopping:
            self._dispatcher.start()
            self._herald = Herald(self._worker.app, self._desk.store, self._worker.hostname, self._tell_event)
            self._desk.on_consequences = self._herald.wake
            self._desk.on_wish = self._obey
            self._desk.start(self._dispatcher)
            self._herald.start()

    def _tell_event(self, kind: str, **fields: Any) -> None:
        eventer = getattr(self._worker.consumer, "event_dispatcher", None)
        if eventer is not None and eventer.enabled:
            eventer.send(kind, **fields)

    @property
    def stopping(self) -> bool:
        """Whether the worker has begun to stop."""
        return self._state == "stopping"

    def suspend(self) -> None:
        """The event loop is about to restart."""
        if self._desk is not None:
            self._dispatcher.suspend()

    def resume(self) -> None:
        """The event loop runs again."""
        if self._desk is not None:
            self._dispatcher.resume()

    def close(self, worker: Any) -> None:
        """The worker begins to stop: claim no more, give back what has not begun, and set the grace time running."""
        del worker
        if self._desk is None or self.stopping:
            return
        self._state = "stopping"
        if self._herald is not None:
            self._herald.stop()
        self._desk.stop_claiming()
        self._dispatcher.close()
        grace = self._settings.shutdown_grace_seconds
        self._give_up_at = time.monotonic() + grace
        _soon(grace, self._give_up, 0)

    def stop(self, worker: Any) -> None:
        """The consumer has stopped; the pool still works off its jobs, so the desk goes on until `finish`."""
        self.close(worker)

    def terminate(self, worker: Any) -> None:
        """A cold shutdown: running jobs go back at once."""
        self.close(worker)
        self.finish()

    def finish(self) -> None:
        """Everything of Celery's has stopped, or is not waited for."""
        if self._desk is None:
            return
        self._dispatcher.give_up()
        self._desk.finish(max(FINISH_SECONDS, self._give_up_at - time.monotonic()))
        self._dispatcher.end()

    def give_up_soon(self, exit_code: int) -> None:
        """End the worker whatever its pool does; called in a signal handler, which may have interrupted anything."""
        if self._desk is not None:
            self._dispatcher.kill_all()
        threading.Thread(target=self._give_up, args=[exit_code], name="backroom-giving-up", daemon=True).start()

    def _give_up(self, exit_code: int) -> None:
        """Running jobs go back to the store, and the process ends."""
        _soon(2 * FINISH_SECONDS, os._exit, exit_code)
        if self._desk is not None:
            self.close(self._worker)
            logger.warning("the worker does not wait any longer: running jobs go back to the store")
            self._dispatcher.give_up()
            self._desk.finish(FINISH_SECONDS)
        if self._worker.pidlock:
            self._worker.pidlock.release()
        logging.shutdown()
        os._exit(exit_code)  # threads cannot be ended, and a pool whose children were killed may wait for them

    # Claimed jobs.

    def _adopt(self, claimed: Claimed) -> JobRequest:
        """The request of a claimed job; one that cannot be run here is settled at once."""
        app, worker = self._worker.app, self._worker
        task = app.tasks.get(claimed.name)
        request = JobRequest(
            claimed,
            task=_Unknown if task is None else task,
            app=app,
            hostname=worker.hostname,
            eventer=getattr(worker.consumer, "event_dispatcher", None),
            worker_limits=self._limits,
        )
        try:
            outcome = self._refusal(request, known=task is not None)
        except Exception as error:
            logger.exception("job %s could not be taken", claimed.id)
            outcome = endings.failed(request, error)
        if outcome is not None:
            request.over = True
            request.ended(outcome)
            assert self._desk is not None
            self._desk.settle(request, outcome)
        return request

    def _refusal(self, request: JobRequest, *, known: bool) -> Outcome | None:
        """Why the job is not to be run here, or None."""
        if not known:
            offered = sorted(name for name in self._worker.app.tasks if not name.startswith("celery."))
            return endings.unknown_type(request, self._worker.hostname, offered)
        request.reserved()
        signals.task_received.send(sender=self._worker.consumer, request=request)
        return endings.cancelled(request, "revoked") if request.revoked_by_celery() else None

    # Queues.

    def _served(self) -> Served:
        if self._named is None:
            return Served(without=self._without or None)
        # One may name queues for some work of one's own; who sees to the stack's own must not depend on it.
        internal = [INTERNAL_QUEUE] if INTERNAL_QUEUE not in {*self._named, *self._without} else []
        return Served(named=[*self._named, *internal])

    def add_queue(self, queue: str) -> None:
        """Serve this queue too."""
        self._without.pop(queue, None)
        if self._named is not None and queue not in self._named:
            self._named = [*self._named, queue]
        if self._desk is not None:
            self._desk.served_anew()

    def cancel_queue(self, queue: str) -> None:
        """Serve this queue no more."""
        self._without[queue] = True
        if self._named is not None:
            self._named = [name for name in self._named if name != queue]
        if self._desk is not None:
            self._desk.served_anew()  # else it would sleep on, and swallow wake-ups for that queue

    def quiet(self, *, on: bool) -> None:
        """Claim nothing (or claim again) without stopping."""
        if self._desk is None or self.stopping:
            return
        self._state = "quiet" if on else "running"
        if on:
            self._desk.stop_claiming()
        else:
            self._desk.resume_claiming()

    def _obey(self, wish: Wish) -> None:
        """Do what somebody asked of this worker through the store."""
        if wish == "quiet":
            self.quiet(on=True)
        elif not self._asked_to_stop:
            self._asked_to_stop = True
            os.kill(os.getpid(), signal.SIGTERM)  # the same warm shutdown as ever

    def _view(self) -> WorkerView:
        worker, busy = self._worker, self._dispatcher.busy()
        slots = int(worker.pool.num_processes) if worker.pool._pool or not running.this_pool().forked else 0  # noqa: SLF001 - None once Celery's pool has stopped
        return WorkerView(
            id=worker.hostname,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=None if self._named is None else tuple(self._named),
            pool=_pool_name(worker.pool),
            slots=slots,
            busy=min(len(busy) + self._dispatcher.held, slots),
            jobs=jobs_of(busy),
            started_at=self._started_at,
            state=self._state,  # type: ignore[arg-type]  # one of the three
        )


class _Unknown:
    """Stands for a task that this worker does not have."""

    name = ""
    ignore_result = False
    send_events = False
    time_limit = soft_time_limit = None


@control_command()
def backroom_quiet(state: Any, *, on: bool = True, **_: Any) -> dict[str, str]:
    """Claim no more jobs, or claim again with ``on=False``."""
    step = getattr(state.consumer, "desk_step", None)
    if step is None:
        return {"error": "not a Backroom worker"}
    step.quiet(on=bool(on))
    return {"ok": "quiet" if on else "running"}


def install(worker: Any) -> None:
    """Prepare a worker that is being set up (Celery's ``worker_init``): its boot steps are not chosen yet.

    Raises `ImproperlyConfigured` for pools that Backroom cannot run jobs in.
    """
    app: Celery = worker.app
    pool_class = get_implementation(worker.pool_cls)
    if pool_class not in {ProcessPool, ThreadPool, SoloPool} or not worker.use_eventloop:
        raise ImproperlyConfigured("Backroom runs jobs in the pools prefork, threads and solo: choose one with --pool")
    forked = pool_class is ProcessPool
    if forked:
        if worker.pool_start_method != "fork":
            raise ImproperlyConfigured("Backroom needs worker_pool_start_method = 'fork', the default")
        billiard.set_start_method("fork", force=True)
        signals.worker_process_init.connect(_enter_child)
    running.prepare(app, worker.hostname, get_settings(), store_url(app), forked=forked)
    worker.consumer_cls = JobConsumer
    app.steps["worker"].add(DeskStep)
    for name in _PER_TASK_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    signals.worker_shutdown.connect(_finish)


def _soon(seconds: float, act: Callable[[int], object], argument: int) -> None:
    timer = threading.Timer(seconds, act, [argument])
    timer.daemon = True
    timer.start()


def _limits_of(worker: Any) -> tuple[float | None, float | None]:
    """The worker's own time limits (``--time-limit``). The dispatcher keeps them: the pool knows messages, not jobs."""
    limits = worker.time_limit, worker.soft_time_limit
    worker.time_limit = worker.soft_time_limit = None
    return limits


def _finish(sender: Any = None, **_: Any) -> None:
    for step in getattr(sender, "steps", ()):
        if isinstance(step, DeskStep):
            step.finish()


def _enter_child(**_: Any) -> None:
    running.enter_child()
    capture()


def _pool_name(pool: object) -> str:
    """What the pool is called on the command line."""
    module = type(pool).__module__.rpartition(".")[2]
    return "threads" if module == "thread" else module
