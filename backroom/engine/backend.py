"""The result backend: what Celery asks about tasks is answered by the job store.

A worker's main process settles jobs, so storing the result of a running job does nothing but check and keep it for the
way back. Groups and chords keep their small book-keeping beside the jobs, with the code of Celery's own Redis backend.
So do results of tasks that never became jobs: the body of a chord that failed, the rest of a chain that broke.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from celery.exceptions import TimeoutError as ResultTimeout
from kombu.utils.json import dumps as celery_dumps
from redis import Redis

from backroom.engine import current, messages
from backroom.engine.encoding import InvalidResult, decode_result, encode_result
from backroom.engine.errors import celery_error, failure_text
from backroom.engine.urls import redis_url
from backroom.engine.waiting import LOOK_SECONDS, ResultConsumer
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
#: Between two looks of `JobBackend.get_many`, in seconds.
_INTERVAL_SECONDS = 0.5


class JobBackend(RedisBackend):
    """``backroom://`` for Celery's results."""

    ResultConsumer = ResultConsumer
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
        self._accept = frozenset(self.accept)

    def as_uri(self, include_password: bool = False) -> str:  # noqa: ARG002, FBT001, FBT002 - Celery's signature; no password in it
        """What this is; the address is shown by the broker."""
        return "backroom://"

    def _both(self) -> tuple[int, Store, Redis]:
        if self._stores is None or self._stores[0] != os.getpid():
            settings = get_settings()
            url = redis_url(self.backroom_url or "")
            if "://" not in url or url == "redis://":
                url = settings.redis_url
            # Waiting for results blocks for a second on top of the usual time.
            timeout = settings.redis_timeout_seconds + LOOK_SECONDS
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

    # Writing.

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,  # noqa: FBT001, FBT002 - Celery's signature
        state: str = states.SUCCESS,
    ) -> None:
        """Inside the job: keep its result for the way back. Raises `InvalidResult`, which fails the try."""
        wanted = store_result and not (request and getattr(request, "ignore_result", False))
        job = current.running_job()
        if job is None or job.id != task_id:
            if wanted:
                self.store_result(task_id, result, state, request=request)
        elif wanted:
            native = bool(request and request.origin)
            job.result = encode_result(result, native=native, serializer=self.serializer)
            self._keep_children(job, request)
        else:
            job.result = "null"
        if request and request.chord:
            self.on_chord_part_return(request, state, result)

    def _keep_children(self, job: current.RunningJob, request: Any) -> None:
        if children := self.current_task_children(request):
            job.children = celery_dumps(children)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing to subscribe to: waiting follows the event stream."""

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **options: Any
    ) -> Any:
        """Inside the job: a state of its own becomes its progress, the desk stores the rest.

        Of others: REVOKED cancels a job that has not begun; a chord's body, or the rest of a chain, that will never be
        published is given its end here.
        """
        job = current.running_job()
        if job is not None and job.id == task_id:
            self._store_own(job, result, state, request)
        elif state == states.REVOKED and self._cancelled(task_id):
            pass
        elif state in states.READY_STATES and not self._forsaken(task_id, result, state):
            super().store_result(task_id, result, state, traceback=traceback, request=request, **options)
        return result

    def _cancelled(self, task_id: str) -> bool:
        """Whether a job has that id; it is cancelled unless it runs or has ended."""
        try:
            self.store.actions.cancel(task_id, running=False)
        except WrongState:
            return True
        except NotFound:
            return False
        return True

    def _store_own(self, job: current.RunningJob, result: Any, state: str, request: Any) -> None:
        if state not in states.ALL_STATES:
            meta = json.loads(celery_dumps(result))
            job.set_progress({"percent": None, "message": None, "state": state, "meta": meta})
        elif state in states.EXCEPTION_STATES:
            self._keep_children(job, request)
            if state == states.FAILURE:
                job.verdict = result

    def _forsaken(self, task_id: str, result: Any, state: str) -> bool:
        """Whether a job has that id; one that waits for what will never come fails with it."""
        if state == states.FAILURE and self.store.execution.forsake(task_id, failure_text(result, attempt=1)):
            return True
        [found] = self.store.inspection.states([task_id])
        return found is not None

    def _set(self, key: bytes, value: bytes, expires: int | None = None) -> None:
        """Keep something aside. Unlike Celery's own, tells nobody: waiting follows the event stream."""
        self.client.set(key, value, ex=(self.expires if expires is None else expires) or None)

    # Reading.

    def ready_ids(self, task_ids: Iterable[str]) -> set[str]:
        """Those of the tasks that have ended."""
        ids = list(task_ids)
        if not ids:
            return set()
        found = dict(zip(ids, self.store.inspection.states(ids), strict=True))
        ready = {task_id for task_id, state in found.items() if state in FINISHED}
        return ready | {task_id for task_id, state in found.items() if state is None and self._stored_aside(task_id)}

    def _stored_aside(self, task_id: str) -> bool:
        return bool(self.client.exists(self.get_key_for_task(task_id)))

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        record = self.store.inspection.record(task_id)
        if record is not None:
            return self._meta(task_id, record)
        aside = self.get(self.get_key_for_task(task_id))
        if aside:
            meta: dict[str, Any] = self.decode_result(aside)
            return meta
        return {"status": states.PENDING, "result": None, "task_id": task_id}

    def _meta(self, task_id: str, record: dict[str, str]) -> dict[str, Any]:
        state = State(record["state"])
        meta: dict[str, Any] = {
            "task_id": task_id,
            "status": _CELERY_STATES[state],
            "result": None,
            "traceback": None,
            "children": json.loads(record.get("children") or "[]"),
            "date_done": format_time(from_ms(record.get("finished"))),
        }
        if self.app.conf.result_extended:
            meta.update(self._extended(record))
        error = json.loads(record.get("error") or "{}")
        if state is State.COMPLETED:
            meta["result"] = decode_result(record.get("result") or "null", self._accept)
        elif state is State.FAILED:
            meta.update(result=self.exception_to_python(celery_error(error)), traceback=error.get("traceback"))
        elif state in {State.CANCELLED, State.EXPIRED}:
            reason = {"exc_type": "TaskRevokedError", "exc_module": "celery.exceptions", "exc_message": [str(state)]}
            meta["result"] = self.exception_to_python(reason)
        elif state in {State.DELAYED, State.WAITING} and int(record.get("made", 0)) > 0 and error:
            meta.update(status=states.RETRY, result=self.exception_to_python(celery_error(error)))
            meta["traceback"] = error.get("traceback")
        elif state is State.ACTIVE and record.get("progress"):
            progress = json.loads(record["progress"])
            if progress.get("state"):
                meta.update(status=progress["state"], result=progress.get("meta"))
        return meta

    def _extended(self, record: dict[str, str]) -> dict[str, Any]:
        """What ``result_extended`` adds; arguments in a form that is not accepted here are left out."""
        tries = int(record.get("made", 0))
        extended: dict[str, Any] = {
            "name": record["name"],
            "queue": record["queue"],
            "worker": record.get("worker"),
            "retries": max(0, tries - 1) if record["state"] in FINISHED else tries,
        }
        task = self.app.tasks.get(record["name"])
        celery = messages.celery_part(record.get("celery", ""))
        with suppress(Exception):  # whatever a foreign serializer raises
            extended["args"], extended["kwargs"], _ = messages.arguments_of(
                record["data"], celery, takes_data=getattr(task, "takes_data", False), accept=self._accept
            )
        return extended

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float | None = _INTERVAL_SECONDS,
        *_: Any,
        on_message: Any = None,
        on_interval: Any = None,
        max_iterations: int | None = None,
        **__: Any,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Metas of tasks as they become ready. Raises Celery's ``TimeoutError``."""
        wanted = set(task_ids)
        deadline = None if timeout is None else time.monotonic() + timeout
        rounds = 0
        while wanted:
            for task_id in self.ready_ids(wanted):
                meta = self.get_task_meta(task_id)
                if on_message is not None:
                    on_message(meta)
                wanted.discard(task_id)
                yield task_id, meta
            rounds += 1
            if not wanted or rounds == max_iterations:
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise ResultTimeout(f"{len(wanted)} results are not ready")
            if on_interval is not None:
                on_interval()
            nap = interval or _INTERVAL_SECONDS
            time.sleep(nap if deadline is None else max(0.0, min(nap, deadline - time.monotonic())))

    def task_result_exists(self, task_id: str) -> bool:
        """Whether the job is stored."""
        return self.store.inspection.record(task_id) is not None or self._stored_aside(task_id)

    def _forget(self, task_id: str) -> None:
        with suppress(NotFound, WrongState):  # it runs, or there is nothing to forget
            self.store.actions.remove(task_id)
        self.delete(self.get_key_for_task(task_id))
