"""Tells the tasks that depend on a task of its end, where its own code could not.

A task that was cancelled, expired, or whose process died too often ends in the store. Chords wait for it, the rest of
its chain would never end, errbacks want to know, and so do receivers of Celery's signals: some worker sees to that.
"""

import json
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import Celery, signals, states
from celery.app.task import Context
from celery.exceptions import TaskRevokedError
from kombu.serialization import prepare_accept_content

from backroom.engine import messages
from backroom.engine.errors import celery_error
from backroom.model.errors import StoreUnavailable
from backroom.model.states import State
from backroom.store import Store

__all__ = ["Herald", "announce_failure"]

logger = logging.getLogger(__name__)

#: How often it looks without having heard anything, in seconds.
LOOK_SECONDS = 5.0


def announce_failure(task: Any, context: Any, error: BaseException) -> None:
    """What Celery's own worker does when a task failed outside its code: chord, chain, errbacks, handlers, signal."""
    task.backend.mark_as_failure(context.id, error, request=context)
    info = _info_of(error)
    task.request_stack.push(context)
    try:
        task.on_failure(error, context.id, context.args, context.kwargs, info)
        task.after_return(states.FAILURE, error, context.id, context.args, context.kwargs, info)
        signals.task_failure.send(
            sender=task,
            task_id=context.id,
            exception=error,
            args=context.args,
            kwargs=context.kwargs,
            traceback=error.__traceback__,
            einfo=info,
        )
    finally:
        task.request_stack.pop()


def _info_of(error: BaseException) -> Any:
    if error.__traceback__ is None:  # it was never raised, and an info needs a traceback
        with suppress(type(error)):
            raise error
    return ExceptionInfo((type(error), error, error.__traceback__))


class Herald(threading.Thread):
    """A thread of a worker; ``tell_event(kind, job_id, fields)`` sends a task event."""

    def __init__(self, app: Celery, store: Store, hostname: str, tell_event: Callable[..., None]) -> None:
        super().__init__(name="backroom-herald", daemon=True)
        self._app, self._store, self._hostname, self._tell_event = app, store, hostname, tell_event
        self._accept = frozenset(prepare_accept_content(app.conf.accept_content or ("json",)))
        self._wake = threading.Event()
        self._ended = False

    def wake(self) -> None:
        """There is something to tell."""
        self._wake.set()

    def stop(self) -> None:
        """End soon; does not wait."""
        self._ended = True
        self._wake.set()

    def run(self) -> None:
        """Until stopped."""
        while not self._ended:
            try:
                job_ids = self._store.consequences.take()
                for job_id in job_ids:
                    self._tell(job_id)
                if job_ids:
                    self._store.consequences.done(job_ids)
                    continue
            except StoreUnavailable as error:
                logger.info("the job store is away, what is to be told waits: %s", error)
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()

    def _tell(self, job_id: str) -> None:
        record = self._store.inspection.record(job_id)
        if record is None or not record.get("celery"):
            return
        try:
            self._tell_of(job_id, record)
        except StoreUnavailable:
            raise
        except Exception:
            logger.exception("what depends on task %s could not be told of its end", job_id)

    def _tell_of(self, job_id: str, record: dict[str, str]) -> None:
        state = State(record["state"])
        context = self._context(job_id, record)
        # Another application's task: its chord, chain and errbacks can be told all the same.
        task = self._app.tasks.get(record["name"]) or self._app.tasks["celery.accumulate"]
        if state is State.FAILED:
            error = task.backend.exception_to_python(celery_error(json.loads(record["error"])))
            announce_failure(task, context, error)
        elif state in {State.CANCELLED, State.EXPIRED}:
            revoked = TaskRevokedError(str(state))
            task.backend.mark_as_failure(job_id, revoked, request=context, state=states.REVOKED, call_errbacks=False)
            if "told" not in record:
                expired = state is State.EXPIRED
                self._tell_event("task-revoked", uuid=job_id, terminated=False, signum=None, expired=expired)
                signals.task_revoked.send(sender=task, request=context, terminated=False, signum=None, expired=expired)

    def _context(self, job_id: str, record: dict[str, str]) -> Any:
        celery = messages.celery_part(record["celery"])
        takes_data = getattr(self._app.tasks.get(record["name"]), "takes_data", False)
        args, kwargs, embed = messages.arguments_of(record["data"], celery, takes_data=takes_data, accept=self._accept)
        request = messages.request_of(
            job_id=job_id,
            name=record["name"],
            queue=record["queue"],
            made=int(record.get("made", 0)),
            stalled=int(record.get("stalled", 0)),
            priority=int(record.get("priority", 0)),
            hostname=self._hostname,
            celery=celery,
            embed=embed,
        )
        return Context(request, args=args, kwargs=kwargs)
