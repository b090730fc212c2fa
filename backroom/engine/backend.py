"""The result backend: what Celery asks about tasks is answered by the job store.

A worker's main process settles jobs, so storing the result of a running job does nothing but check and keep it for the way
back. Groups and chords keep their small book-keeping beside the jobs, with the code of Celery's own Redis backend.
"""

import json
import os
import socket
import time
from collections.abc import Iterable
from typing import Any

from celery import states
from celery.backends.asynchronous import BaseResultConsumer
from celery.backends.redis import RedisBackend
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps as celery_dumps
from kombu.utils.json import loads as celery_loads
from redis import Redis

from backroom.engine import current
from backroom.engine.urls import redis_url
from backroom.model.errors import NotFound, WrongState
from backroom.model.job import format_time
from backroom.model.states import FINISHED, State
from backroom.settings import get_settings
from backroom.store import Store, connect
from backroom.store.records import from_ms

__all__ = ["InvalidResult", "JobBackend"]

_CELERY_STATES = {
    State.WAITING: states.PENDING,
    State.DELAYED: states.PENDING,
    State.WAITING_CHILDREN: states.PENDING,
    State.ACTIVE: states.STARTED,
    State.COMPLETED: states.SUCCESS,
    State.FAILED: states.FAILURE,
    State.CANCELLED: states.REVOKED,
    State.EXPIRED: states.REVOKED,
}
#: How long a waiting client sleeps before it looks at its results without having heard of them, in seconds.
_LOOK_SECONDS = 1.0


class InvalidResult(EncodeError):  # type: ignore[misc]  # kombu is untyped
    """A job returned what cannot be kept: no JSON, or too large."""


class _ResultConsumer(BaseResultConsumer):  # type: ignore[misc]  # Celery is untyped
    """Waits for results by following the event stream."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._after: str | None = None
        self._wanted: set[str] = set()
        self._looked_at = 0.0

    def on_after_fork(self) -> None:
        """A child follows the stream on its own."""
        self._after, self._wanted = None, set()

    def start(self, initial_task_id: str, **_: Any) -> None:
        """Begin with one task."""
        self.consume_from(initial_task_id)

    def on_wait_for_pending(self, result: Any, **_: Any) -> None:
        """Before it waits: from now on, and what is ready already."""
        if self._after is None:
            self._after = self.backend.store.events.last_id()
        for meta in result._iter_meta():
            if meta is not None and meta["status"] in states.READY_STATES:
                self.on_state_change(meta, None)

    def consume_from(self, task_id: str) -> None:
        """Care about this task."""
        self._wanted.add(task_id)

    def cancel_for(self, task_id: str) -> None:
        """No longer care."""
        self._wanted.discard(task_id)

    def stop(self) -> None:
        """Care about nothing."""
        self._wanted.clear()

    def drain_events(self, timeout: float | None = None) -> None:
        """Wait for something to happen to a wanted task, ``timeout`` seconds at most."""
        events = self.backend.store.events
        if self._after is None:
            self._after = events.last_id()
        wait = min(_LOOK_SECONDS, timeout if timeout is not None else _LOOK_SECONDS)
        found = events.read(self._after, block_ms=max(1, int(wait * 1000)))
        ended: set[str] = set()
        if found:
            self._after = found[-1].id
            ended = {event.job_id for event in found if event.type in FINISHED and event.job_id in self._wanted}
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:  # the stream is capped: something may have been trimmed away
            self._looked_at, ended = now, set(self._wanted)
        if not found and not ended and timeout is not None:
            raise socket.timeout  # noqa: UP041 - the name that Celery catches
        for task_id in ended:
            meta = self.backend.get_task_meta(task_id, cache=False)
            if meta["status"] in states.READY_STATES:
                self.on_state_change(meta, None)


class JobBackend(RedisBackend):  # type: ignore[misc]  # Celery is untyped
    """``backroom://`` for Celery's results."""

    ResultConsumer = _ResultConsumer
    supports_autoexpire = True
    persistent = True

    def __init__(self, *args: Any, url: str | None = None, **kwargs: Any) -> None:
        self.backroom_url = url
        self._stores: tuple[int, Store, Redis] | None = None
        kwargs.pop("host", None)
        super().__init__(*args, **kwargs)
        self.url = url
        prefix = get_settings().key_prefix
        self.task_keyprefix = f"{prefix}:celery:meta:".encode()
        self.group_keyprefix = f"{prefix}:celery:group:".encode()
        self.chord_keyprefix = f"{prefix}:celery:chord:".encode()

    def as_uri(self, include_password: bool = False) -> str:  # noqa: ARG002 - the address is shown by the broker
        """What this is, without passwords."""
        return "backroom://"

    def _both(self) -> tuple[int, Store, Redis]:
        if self._stores is None or self._stores[0] != os.getpid():
            settings = get_settings()
            url = redis_url(self.backroom_url or "")
            if "://" not in url or url == "redis://":
                url = settings.redis_url
            # Waiting for results blocks for a second on top of the usual time.
            timeout = settings.redis_timeout_seconds + _LOOK_SECONDS
            store = Store(connect(url, timeout=timeout), settings=settings)
            self._stores = os.getpid(), store, connect(url, timeout=timeout, decode=False)
        return self._stores

    @property
    def store(self) -> Store:
        """The job store; a new one in a forked process."""
        return self._both()[1]

    @property
    def client(self) -> Redis:
        """What Celery's code for groups and chords talks to."""
        return self._both()[2]

    # Running jobs.

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """Inside the job: keep its result for the way back. Raises `InvalidResult`, which fails the try."""
        job = current.running_job()
        if job is not None and job.id == task_id:
            job.result = encode_result(result, native=bool(request and request.origin)) if store_result else "null"
        if request and request.chord:
            self.on_chord_part_return(request, state, result)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing to subscribe to: waiting follows the event stream."""

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        """``update_state`` inside a job becomes its progress; REVOKED cancels the job; the desk stores the rest."""
        del traceback, request
        if state == states.REVOKED:
            self._cancel(task_id)
            return result
        job = current.running_job()
        if job is not None and job.id == task_id and state not in states.ALL_STATES:
            job.set_progress({"percent": None, "message": None, "state": state, "meta": json.loads(celery_dumps(result))})
        return result

    def _cancel(self, task_id: str) -> None:
        try:
            self.store.actions.cancel(task_id)
        except (NotFound, WrongState):
            pass  # nothing left to cancel

    # Reading.

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        record = self.store.inspection.record(task_id)
        if record is None:
            return {"status": states.PENDING, "result": None, "task_id": task_id}
        return self._meta(task_id, record)

    def _meta(self, task_id: str, record: dict[str, str]) -> dict[str, Any]:
        state = State(record["state"])
        meta: dict[str, Any] = {
            "task_id": task_id,
            "status": _CELERY_STATES[state],
            "result": None,
            "traceback": None,
            "children": [],
            "name": record["name"],
            "queue": record["queue"],
            "worker": record.get("worker"),
            "retries": int(record.get("made", 0)),
            "date_done": format_time(from_ms(record.get("finished"))),
        }
        if state is State.COMPLETED:
            meta["result"] = celery_loads(record.get("result") or "null")
        elif state is State.FAILED:
            error = json.loads(record.get("error") or "{}")
            meta["result"] = self.exception_to_python(_celery_error(error))
            meta["traceback"] = error.get("traceback")
        elif state in {State.CANCELLED, State.EXPIRED}:
            meta["result"] = self.exception_to_python(
                {"exc_type": "TaskRevokedError", "exc_module": "celery.exceptions", "exc_message": [str(state)]}
            )
        elif state in {State.DELAYED, State.WAITING} and int(record.get("made", 0)) > 0 and record.get("error"):
            error = json.loads(record["error"])
            meta.update(status=states.RETRY, result=self.exception_to_python(_celery_error(error)))
        elif state is State.ACTIVE and record.get("progress"):
            progress = json.loads(record["progress"])
            if progress.get("state"):
                meta.update(status=progress["state"], result=progress.get("meta"))
        return meta

    def get_many(self, task_ids: Iterable[str], *args: Any, **kwargs: Any) -> Any:
        """Metas of many tasks as they become ready."""
        wanted = list(task_ids)
        deadline = time.monotonic() + kwargs["timeout"] if kwargs.get("timeout") else None
        while wanted:
            for task_id in list(wanted):
                meta = self.get_task_meta(task_id, cache=False)
                if meta["status"] in states.READY_STATES:
                    wanted.remove(task_id)
                    yield task_id, meta
            if wanted and deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{len(wanted)} results are not ready")
            if wanted:
                try:
                    self.result_consumer.drain_events(timeout=kwargs.get("interval", 0.5))
                except TimeoutError:
                    continue

    def task_result_exists(self, task_id: str) -> bool:
        """Whether the job is stored."""
        return self.store.inspection.record(task_id) is not None

    def _forget(self, task_id: str) -> None:
        try:
            self.store.actions.remove(task_id)
        except (NotFound, WrongState):
            pass  # nothing to forget, or it runs


def encode_result(result: Any, *, native: bool) -> str:
    """The JSON text of a job's result. Raises `InvalidResult`; ``native``: with Celery's marks for dates and the like."""
    try:
        text = celery_dumps(result, separators=(",", ":")) if native else json.dumps(
            result, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResult(
            f"the result is not JSON ({error}): return dicts, lists, texts, numbers, true, false or None"
        ) from None
    limit = get_settings().max_result_bytes
    if size > limit:
        raise InvalidResult(
            f"the result has {size} bytes, the limit is {limit} (BACKROOM_MAX_RESULT_BYTES): store it elsewhere, return where"
        )
    return text


def _celery_error(error: dict[str, Any]) -> dict[str, Any]:
    """An error record as Celery writes it."""
    return {
        "exc_type": error.get("type") or "Exception",
        "exc_module": error.get("module"),
        "exc_message": error["args"] if "args" in error else [error.get("message")],
    }
