"""Makes a Celery worker a Backroom worker: connects the desk, the dispatcher and the pool.

Installed by `backroom.engine.transport` when a worker's broker is Backroom, so that an existing Celery application needs
nothing but its two URLs.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery, bootsteps, signals
from celery.app.trace import build_tracer
from celery.worker.consumer import Consumer
from celery.worker.control import control_command

from backroom.engine import running
from backroom.engine.current import LogCapture
from backroom.engine.desk import Desk, jobs_of
from backroom.engine.dispatch import Dispatcher
from backroom.engine.errors import plain_error
from backroom.engine.jobs import job_types_of, schedules_of
from backroom.engine.request import JobRequest
from backroom.engine.urls import redis_url
from backroom.settings import get_settings
from backroom.store import WorkerView
from backroom.store.execution import Claimed, Outcome, Served

__all__ = ["JobConsumer", "install"]

logger = logging.getLogger(__name__)

#: A job whose type this worker does not know goes back for this long: a newer worker may be starting, in ms.
UNKNOWN_TYPE_MS = 5000
#: How long the worker may take to settle its last outcomes when it stops, in seconds.
FINISH_SECONDS = 5.0
#: Celery's logger of every single task; at INFO it costs more than many a job.
_PER_TASK_LOGGERS = ("celery.app.trace", "celery.worker.strategy")


class JobConsumer(Consumer):  # type: ignore[misc]  # Celery is untyped
    """Celery's consumer, which also tells the desk which queues to serve."""

    desk_step: "DeskStep | None" = None

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


class DeskStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery is untyped
    """The worker's boot step that runs the desk."""

    requires = ("celery.worker.components:Pool",)  # the consumer is always last: it starts the event loop

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._settings = get_settings()
        self._worker = worker
        self._started_at = int(time.time() * 1000)
        self._desk: Desk | None = None
        self._dispatcher: Dispatcher | None = None
        self._state = "running"
        queues = worker.app.amqp.queues
        #: Queue names, or None for every queue but those in `_without`.
        self._named: list[str] | None = None if queues._consume_from is None else list(queues.consume_from)  # noqa: SLF001 - how Celery keeps -Q
        self._without: dict[str, bool] = {}

    def start(self, worker: Any) -> None:
        """Connect everything; the pool runs and the consumer exists."""
        app, pool = worker.app, running.this_pool()
        forked = bool(worker.pool.uses_semaphore)
        hub = worker.hub
        if not forked:
            # Pool children build their tracers themselves; in threads the consumer would, but later than the first job.
            for name, task in app.tasks.items():
                task.__trace__ = build_tracer(name, task, app.loader, worker.hostname, app=app)

        def adopt(claimed: Claimed) -> JobRequest | None:
            return self._request(app, worker, claimed)

        def hand_on(requests: Sequence[JobRequest]) -> None:
            dispatcher.add(requests)
            if forked and self._state != "stopping":
                hub.call_soon(dispatcher.pump)
            else:
                dispatcher.pump()

        def settle(request: JobRequest, ended: Any) -> None:
            desk.settle(request, ended)

        dispatcher = Dispatcher(
            pool=worker.pool, board=pool.board, settings=self._settings, settle=settle, forked=forked
        )
        desk = Desk(
            worker=worker.hostname,
            url=_store_url(app),
            settings=self._settings,
            dispatcher=dispatcher,
            adopt=adopt,
            hand_on=hand_on,
            served=self._served,
            job_types=job_types_of(app),
            schedules=schedules_of(app),
            view=lambda: self._view(worker, dispatcher),
        )
        self._desk, self._dispatcher = desk, dispatcher
        worker.consumer.desk_step = self
        desk.start()

    def close(self, worker: Any) -> None:
        """The worker begins to stop: claim no more, give back what has not begun, and set the grace time running."""
        if self._desk is None or self._dispatcher is None or self._state == "stopping":
            return
        self._state = "stopping"
        self._desk.stop_claiming()
        self._dispatcher.close()
        timer = threading.Timer(self._settings.shutdown_grace_seconds, self._give_up, [worker])
        timer.daemon = True
        timer.start()

    def stop(self, worker: Any) -> None:
        """The consumer has stopped; the pool still works off its jobs, so the desk goes on until `finish`."""
        self.close(worker)

    def terminate(self, worker: Any) -> None:
        """A cold shutdown: running jobs go back at once."""
        self.close(worker)
        if self._dispatcher is not None:
            self._dispatcher.give_up()

    def finish(self) -> None:
        """Everything of Celery's has stopped."""
        if self._desk is not None:
            self._desk.finish(FINISH_SECONDS)
            self._desk = None

    def _give_up(self, worker: Any) -> None:
        """The grace time is over."""
        if self._desk is None or self._dispatcher is None:
            return
        logger.warning("the grace time is over: running jobs go back to the store")
        self._dispatcher.give_up()
        self._desk.finish(FINISH_SECONDS)
        os._exit(0)  # threads cannot be ended, and a pool whose children were killed may wait for them

    def _discard(self, request: JobRequest, outcome: Outcome) -> None:
        """Settle a job that is not handed on."""
        if self._desk is not None:
            self._desk.held[request.id] = request
            self._desk.settle(request, outcome)

    def _request(self, app: Celery, worker: Any, claimed: Claimed) -> JobRequest | None:
        task = app.tasks.get(claimed.name)
        eventer = getattr(worker.consumer, "event_dispatcher", None)
        request = JobRequest(
            claimed, task=task if task is not None else _Unknown, app=app, hostname=worker.hostname, eventer=eventer
        )
        if task is None:
            text = plain_error(
                "NotRegistered",
                f"no job type {claimed.name!r} on worker {worker.hostname}; it offers: "
                + ", ".join(sorted(name for name in app.tasks if not name.startswith("celery."))),
                attempt=claimed.made + 1,
            )
            outcome = Outcome(
                id=claimed.id, token=claimed.token, outcome="retry-after", error=text, delay=UNKNOWN_TYPE_MS
            )
            self._discard(request, outcome)
            return None
        request.reserved()
        signals.task_received.send(sender=worker.consumer, request=request)
        if request.revoked_by_celery():
            outcome = Outcome(
                id=claimed.id,
                token=claimed.token,
                outcome="cancelled",
                error=plain_error("TaskRevokedError", "revoked", attempt=claimed.made + 1),
            )
            self._discard(request, outcome)
            return None
        return request

    # Queues.

    def _served(self) -> Served:
        if self._named is None:
            return Served(without=self._without or None)
        return Served(named=self._named)

    def add_queue(self, queue: str) -> None:
        """Serve this queue too."""
        if self._named is None:
            self._without.pop(queue, None)
        elif queue not in self._named:
            self._named = [*self._named, queue]
        if self._desk is not None:
            self._desk.woken()

    def cancel_queue(self, queue: str) -> None:
        """Serve this queue no more."""
        if self._named is None:
            self._without[queue] = True
        else:
            self._named = [name for name in self._named if name != queue]

    def quiet(self, *, on: bool) -> None:
        """Claim nothing (or claim again) without stopping."""
        if self._desk is None or self._state == "stopping":
            return
        self._state = "quiet" if on else "running"
        if on:
            self._desk.stop_claiming()
        else:
            self._desk.resume_claiming()

    def _view(self, worker: Any, dispatcher: Dispatcher) -> WorkerView:
        busy = dispatcher.busy()
        return WorkerView(
            id=worker.hostname,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=None if self._named is None else tuple(self._named),
            pool=type(worker.pool).__module__.rpartition(".")[2],
            slots=dispatcher.slots,
            busy=min(len(busy), dispatcher.slots),
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


@control_command()  # type: ignore[untyped-decorator]  # Celery is untyped
def backroom_quiet(state: Any, on: bool = True, **_: Any) -> dict[str, str]:
    """Claim no more jobs, or claim again with ``on=False``."""
    step = getattr(state.consumer, "desk_step", None)
    if step is None:
        return {"error": "not a Backroom worker"}
    step.quiet(on=bool(on))
    return {"ok": "quiet" if on else "running"}


def _store_url(app: Celery) -> str:
    """The Redis URL behind the app's broker URL."""
    url = redis_url(str(app.conf.broker_url))
    return url if "://" in url else get_settings().redis_url


def install(worker: Any) -> None:
    """Prepare a worker that is being set up (Celery's ``worker_init``): its boot steps are not chosen yet."""
    app = worker.app
    settings = get_settings()
    running.prepare(app, worker.hostname, settings, _store_url(app))
    worker.consumer_cls = JobConsumer
    app.steps["worker"].add(DeskStep)
    capture = LogCapture(level=logging.INFO)
    logging.getLogger().addHandler(capture)
    signals.worker_process_init.connect(_keep_capture, weak=False)
    for name in _PER_TASK_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)

    def finish(sender: Any = None, **_: Any) -> None:
        for step in getattr(sender, "steps", ()):
            if isinstance(step, DeskStep):
                step.finish()

    signals.worker_shutdown.connect(finish, weak=False)


def _keep_capture(**_: Any) -> None:
    """Celery may have set up logging anew in a child: the capture stays."""
    root = logging.getLogger()
    if not any(isinstance(handler, LogCapture) for handler in root.handlers):
        root.addHandler(LogCapture(level=logging.INFO))
