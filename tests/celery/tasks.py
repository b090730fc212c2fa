"""The tasks of the application in `tests.celery.plain`, as anybody could have written them."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import Task, chain, chord, group, shared_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from tests.celery.diary import note, wait_for_page


class Oops(Exception):
    """An error of the application's own."""


@shared_task(name="add")
def add(x: Any, y: Any) -> Any:
    return x + y


@shared_task(name="total")
def total(numbers: list[Any]) -> Any:
    return sum(numbers)


@shared_task(name="same")
def same(value: Any) -> Any:
    return value


@shared_task(name="echo")
def echo(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"args": list(args), "kwargs": kwargs}


@shared_task(name="routed")
def routed() -> str:
    return "went by its route"


@shared_task(name="kind")
def kind(value: Any) -> list[str]:
    """The type and the text of a value, as the task sees it."""
    return [type(value).__name__, str(value)]


@shared_task(name="fail")
def fail(*words: Any) -> None:
    raise Oops(*words)


@shared_task(name="told", bind=True)
def told(self: Task, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What a task is told of itself."""
    names = (
        "id", "retries", "root_id", "parent_id", "headers", "delivery_info", "hostname", "args", "kwargs", "eta",
        "expires", "timelimit", "origin", "mine", "is_eager", "called_directly", "group", "reply_to",
    )  # fmt: skip
    return {name: self.request.get(name) for name in names} | {"pid": os.getpid(), "task": self.name}


@shared_task(name="write")
def write(page: str, *what: Any) -> str:
    """Write into the diary of the test."""
    note(page, *what)
    return page


@shared_task(name="wait", bind=True)
def wait(self: Task, page: str) -> Any:
    """Say that it runs, then wait for the test; the test's word is the result."""
    note(self.request.id, "running", os.getpid())
    return wait_for_page(page)[0]


@shared_task(name="hang", bind=True)
def hang(self: Task) -> None:
    """Run until somebody stops it."""
    note(self.request.id, "running", os.getpid())
    time.sleep(600)


@shared_task(name="hang_softly", bind=True)
def hang_softly(self: Task) -> str:
    """Run until the soft time limit."""
    try:
        note(self.request.id, "running", os.getpid())
        time.sleep(600)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "never"


@shared_task(name="die", bind=True)
def die(self: Task) -> None:
    """Kill the process it runs in."""
    note(self.request.id, "running", os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


# Retries and other ends.


@shared_task(name="again", bind=True, max_retries=3)
def again(self: Task, times: int, countdown: float = 0) -> int:
    if self.request.retries < times:
        raise self.retry(exc=Oops(f"try {self.request.retries}"), countdown=countdown)
    return int(self.request.retries)


@shared_task(name="count_down", bind=True, max_retries=None)
def count_down(self: Task, number: int, *, step: int = 1) -> str:
    """Retries with other arguments."""
    if number > 0:
        self.retry(args=(number - step,), kwargs={"step": step + 1}, countdown=0)
    return f"{number} after {self.request.retries} retries"


@shared_task(
    name="unreliable", autoretry_for=(Oops,), retry_backoff=True, retry_backoff_max=1, retry_jitter=False, bind=True
)
def unreliable(self: Task) -> int:
    if self.request.retries < 1:
        raise Oops(self.request.retries)
    return int(self.request.retries)


@shared_task(name="hopeless", autoretry_for=(Oops,), default_retry_delay=0, max_retries=2, bind=True)
def hopeless(self: Task) -> None:
    note(self.request.id, self.request.retries)
    raise Oops("no use")


@shared_task(name="retry_quietly", bind=True)
def retry_quietly(self: Task) -> int:
    if self.request.retries < 2:
        self.retry(countdown=0, throw=False)
    return int(self.request.retries)


@shared_task(name="reject", bind=True)
def reject(self: Task, *, requeue: bool) -> str:
    note(self.request.id, "seen")
    if requeue and self.request.id not in _seen:
        _seen.add(self.request.id)
        raise Reject("not now", requeue=True)
    if not requeue:
        raise Reject("never", requeue=False)
    return "done"


_seen: set[str] = set()


@shared_task(name="ignore")
def ignore() -> None:
    raise Ignore


@shared_task(name="own_verdict", bind=True)
def own_verdict(self: Task) -> None:
    meta = {"exc_type": "ValueError", "exc_message": ["in my own words"], "exc_module": "builtins"}
    self.update_state(state="FAILURE", meta=meta)
    raise Ignore


@shared_task(name="progress", bind=True)
def progress(self: Task, page: str) -> str:
    for percent in (10, 60):
        wait_for_page(page)
        self.update_state(state="PROGRESS", meta={"percent": percent})
    wait_for_page(page)
    return "done"


@shared_task(name="replaced", bind=True)
def replaced(self: Task, how: str) -> None:
    successor = {
        "task": add.s(1, 2),
        "chain": chain(add.s(1, 2), add.s(4), add.s(5)),
        "group": group(add.s(1, 2), add.s(4, 4)),
        "chord": chord([add.s(1, 2), add.s(4, 4)], total.s()),
        "failing chain": chain(add.s(1, 2), fail.si("in the chain")),
        "failing chord": chord([fail.s("in the header"), add.s(4, 4)], total.s()),
    }[how]
    raise self.replace(successor)


@shared_task(name="parent", bind=True)
def parent(self: Task, number: int) -> list[str]:
    """Publishes other tasks."""
    return [add.delay(n, n).id for n in range(number)]


class Watched(Task):
    """A task class of the application's own, with handlers."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note(task_id, "before_start", list(args), kwargs)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(task_id, "on_success", retval)

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(task_id, "on_failure", repr(exc), "Traceback" in str(einfo))

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(task_id, "on_retry", repr(exc))

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(task_id, "after_return", status)


@shared_task(name="watched", base=Watched, bind=True)
def watched(self: Task, end: str) -> str:
    if end == "fails" or (end == "retries" and self.request.retries):
        raise Oops(end)
    if end == "retries":
        raise self.retry(exc=Oops(end), countdown=0)
    if end == "hangs":
        time.sleep(600)
    return end


@shared_task(name="note_error")
def note_error(request: Any, error: BaseException, trace: Any) -> None:
    """An errback of the newer kind: called in the worker."""
    note(request.id, "errback", repr(error), type(error).__name__)


@shared_task(name="note_failed_id")
def note_failed_id(task_id: str) -> None:
    """An errback of the older kind: sent as a task."""
    note(task_id, "errback task")


@shared_task(name="widen", bind=True)
def widen(self: Task, number: int) -> int:
    """Adds a task to the chord it is part of."""
    self.add_to_chord(add.s(number, number))
    return number


@shared_task(name="late", acks_late=True, reject_on_worker_lost=True, rate_limit="10/m", track_started=True)
def late() -> str:
    """With settings that have no meaning here."""
    return "late"


@shared_task(name="who", bind=True)
def who(self: Task, page: str) -> None:
    """Say which worker it is."""
    note(page, self.request.hostname)


@shared_task(name="move", bind=True)
def move(self: Task, queue: str) -> str:
    """Goes on in another queue."""
    if self.request.delivery_info["routing_key"] != queue:
        self.retry(queue=queue, countdown=0)
    return str(self.request.delivery_info["routing_key"])


@shared_task(name="launch")
def launch() -> Any:
    """Returns the result of another task, to be waited for by the caller."""
    return add.delay(1, 1)


@shared_task(name="size")
def size(value: str) -> int:
    return len(value)


@shared_task(name="retry_when_told", bind=True)
def retry_when_told(self: Task, page: str) -> int:
    """Retries once, at a moment that the test chooses."""
    if self.request.retries == 0:
        note(self.request.id, "running")
        wait_for_page(page)
        note(self.request.id, "retrying")
        try:
            self.retry(countdown=0)
        finally:
            note(self.request.id, "asked for another try")
    return int(self.request.retries)
