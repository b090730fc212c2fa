"""The application of `tests.celery.plain`, whose worker writes every signal of Celery into the diary."""

from __future__ import annotations

import os
from typing import Any

from celery import signals

from tests.celery.diary import note
from tests.celery.plain import app

__all__ = ["app"]

#: The page of what does not belong to one task.
PAGE = os.environ.get("SIGNAL_PAGE", "signals")


@signals.task_prerun.connect
def prerun(task_id: str, args: Any, kwargs: Any, **_: Any) -> None:
    note(task_id, "prerun", list(args), kwargs)


@signals.task_postrun.connect
def postrun(task_id: str, retval: Any, state: str, **_: Any) -> None:
    note(task_id, "postrun", state, retval)


@signals.task_success.connect
def success(sender: Any, result: Any, **_: Any) -> None:
    note(sender.request.id, "success", result)


@signals.task_failure.connect
def failure(task_id: str, exception: BaseException, einfo: Any, **_: Any) -> None:
    note(task_id, "failure", repr(exception), "Traceback" in str(einfo))


@signals.task_retry.connect
def retry(request: Any, reason: Any, **_: Any) -> None:
    note(request.id, "retry", repr(reason.exc))


@signals.task_revoked.connect
def revoked(request: Any, *, terminated: bool, expired: bool, **_: Any) -> None:
    note(request.id, "revoked", terminated, expired)


@signals.task_received.connect
def received(request: Any, **_: Any) -> None:
    note(request.id, "received", request.name, list(request.args))


@signals.worker_init.connect
def worker_init(**_: Any) -> None:
    note(PAGE, "worker_init")


@signals.worker_ready.connect
def worker_ready(**_: Any) -> None:
    note(PAGE, "worker_ready")


@signals.worker_process_init.connect
def worker_process_init(**_: Any) -> None:
    note(PAGE, "worker_process_init", os.getpid())


@signals.worker_process_shutdown.connect
def worker_process_shutdown(pid: int, **_: Any) -> None:
    note(PAGE, "worker_process_shutdown", pid)


@signals.worker_shutting_down.connect
def worker_shutting_down(how: str, **_: Any) -> None:
    note(PAGE, "worker_shutting_down", how)


@signals.worker_shutdown.connect
def worker_shutdown(**_: Any) -> None:
    note(PAGE, "worker_shutdown")


@signals.celeryd_after_setup.connect
def after_setup(sender: str, **_: Any) -> None:
    note(PAGE, "celeryd_after_setup", sender)


@signals.heartbeat_sent.connect
def heartbeat_sent(**_: Any) -> None:
    note(f"{PAGE} heartbeats", "sent")
