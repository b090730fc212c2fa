"""Celery's signals in the worker and in the client, handlers of task classes, and task events."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pytest
from celery import signals
from celery.exceptions import TaskRevokedError

from tests.celery import tasks
from tests.celery.diary import PATIENCE
from tests.celery.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.celery.diary import Diary
    from tests.celery.workers import Site

T = TypeVar("T")


@pytest.fixture(scope="module", params=["prefork", "threads"])
def watched_site(
    request: pytest.FixtureRequest, open_site: Callable[..., AbstractContextManager[Site]]
) -> Iterator[Site]:
    """A site whose worker notes signals and sends task events."""
    pool = request.param
    with open_site() as site:
        environment = {**site.environment, "SIGNAL_PAGE": f"signals of {site.url}"}
        options = ("--pool", pool, "--concurrency", "2", "--hostname", f"{pool}@signals", "--task-events")
        site.worker = Worker(*options, app="tests.celery.signalled", environment=environment)
        site.wait_until_ready(site.worker)
        site.app.set_current()
        yield site


def received_once(told: list[T], received: Callable[[T], bool]) -> list[T]:
    """What was told, without that a task was received again.

    A worker gives back what no slot takes within a moment, as on a machine that stands still, and receives it anew.
    """
    return [each for place, each in enumerate(told) if not (place and received(each) and received(told[place - 1]))]


def lines_until(diary: Diary, page: str, word: str) -> list[list[Any]]:
    """The next lines of the page, up to the one that begins with the word; see `received_once`."""
    return received_once(diary.until(page, word), lambda line: line[0] == "received")


def page_of(site: Site) -> str:
    return f"signals of {site.url}"


def test_signals_of_a_task_that_succeeds(watched_site: Site, diary: Diary) -> None:
    result = tasks.add.delay(1, 2)

    assert lines_until(diary, result.id, "postrun") == [
        ["received", "add", [1, 2]],
        ["prerun", [1, 2], {}],
        ["success", 3],
        ["postrun", "SUCCESS", 3],
    ]


def test_signals_of_a_task_that_fails(watched_site: Site, diary: Diary) -> None:
    result = tasks.fail.delay("sad")

    lines = lines_until(diary, result.id, "postrun")
    assert [line[0] for line in lines] == ["received", "prerun", "failure", "postrun"]
    assert lines[2] == ["failure", "Oops('sad')", True]


def test_signals_of_a_task_that_retries(watched_site: Site, diary: Diary) -> None:
    result = tasks.again.delay(1)

    assert [line[0] for line in lines_until(diary, result.id, "success")] == [
        *("received", "prerun", "retry", "postrun"),
        *("received", "prerun", "success"),
    ]


def test_signals_of_tasks_that_were_revoked(watched_site: Site, diary: Diary) -> None:
    waiting = tasks.add.apply_async((1, 1), countdown=3600)
    waiting.revoke()
    expired = tasks.add.apply_async((1, 1), expires=0.05, queue="nobody-serves-this")

    assert diary.next(waiting.id) == ["revoked", False, False]
    assert diary.next(expired.id) == ["revoked", False, True]


def test_signals_of_a_task_that_was_terminated(watched_site: Site, diary: Diary) -> None:
    if "threads" in watched_site.worker.printed:
        pytest.skip("a thread cannot be ended")
    result = tasks.hang.delay()
    diary.until(result.id, "running")

    result.revoke(terminate=True)

    assert diary.until(result.id, "revoked")[-1] == ["revoked", True, False]


def test_signals_of_a_task_that_ran_too_long(watched_site: Site, diary: Diary) -> None:
    result = tasks.hang.apply_async(time_limit=0.3)

    line = diary.until(result.id, "failure")[-1]
    assert line[1].startswith("TimeLimitExceeded(")


def test_signals_of_a_worker(open_site: Callable[..., AbstractContextManager[Site]], diary: Diary) -> None:
    with open_site() as site:
        page = page_of(site)
        # Nothing hangs here: its processes end by themselves, however long that takes.
        environment = {**site.environment, "SIGNAL_PAGE": page, "BACKROOM_SHUTDOWN_GRACE_SECONDS": "60"}
        options = ("--pool", "prefork", "--concurrency", "1", "--hostname", "life@signals", "--without-mingle")
        worker = Worker(*options, app="tests.celery.signalled", environment=environment)
        site.app.set_current()
        assert tasks.add.delay(1, 1).get(timeout=PATIENCE) == 2
        diary.next(f"{page} heartbeats")
        worker.stop()

    names = [line[0] for line in diary.lines(page)]
    assert names[:2] == ["worker_init", "celeryd_after_setup"]
    assert set(names[2:4]) == {"worker_process_init", "worker_ready"}
    assert set(names[4:-1]) == {"worker_shutting_down", "worker_process_shutdown"}
    assert names[-1] == "worker_shutdown"


def test_signals_of_the_client(unserved: Site) -> None:
    seen: list[tuple[str, Any]] = []

    def before(sender: str, headers: dict[str, Any], body: Any, **_: Any) -> None:
        headers["mine"] = "added by a signal"
        seen.append(("before", sender))

    def after(sender: str, headers: dict[str, Any], **_: Any) -> None:
        seen.append(("after", headers["id"]))

    with connected(signals.before_task_publish, before), connected(signals.after_task_publish, after):
        result = tasks.told.delay()

    assert seen == [("before", "told"), ("after", result.id)]
    record = unserved.store.inspection.record(result.id)
    assert record is not None
    assert "added by a signal" in record["celery"]


@contextmanager
def connected(signal: Any, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("returns", ["before_start", "on_success", "after_return"]),
        ("fails", ["before_start", "on_failure", "after_return"]),
        ("retries", ["before_start", "on_retry", "before_start", "on_failure", "after_return"]),
    ],
)
def test_handlers_of_a_task_class(site: Site, diary: Diary, end: str, expected: list[str]) -> None:
    result = tasks.watched.delay(end)
    result.get(timeout=PATIENCE, propagate=False)

    lines = [diary.next(result.id) for _ in expected]

    assert [line[0] for line in lines] == expected
    assert lines[0] == ["before_start", [end], {}]


class Listener:
    """Receives task events, as `celery events` and Flower do."""

    def __init__(self, site: Site) -> None:
        self.events: list[dict[str, Any]] = []
        self._connection = site.app.connection_for_read()
        self._receiver = site.app.events.Receiver(self._connection, handlers={"*": self.events.append})

    def __enter__(self) -> Self:
        self._capture = self._receiver.itercapture(limit=None, timeout=PATIENCE, wakeup=False)
        next(self._capture)  # a heartbeat: it is listening
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.close()
        self._connection.release()

    def until(self, kind: str, task_id: str | None = None) -> list[str]:
        """The kinds of events, up to one of this kind (of this task); see `received_once`."""
        while not (found := [event for event in self.events if event["type"] == kind and event.get("uuid") == task_id]):
            next(self._capture)
        self.last = found[-1]
        kinds = [event["type"] for event in self.events if event.get("uuid") == task_id]
        return received_once(kinds, lambda kind: kind == "task-received")


def test_events_of_tasks(watched_site: Site) -> None:
    with Listener(watched_site) as listener:
        good, bad, late = tasks.add.delay(1, 2), tasks.fail.delay("x"), tasks.again.delay(1)

        assert listener.until("task-succeeded", good.id) == ["task-received", "task-started", "task-succeeded"]
        assert (listener.last["result"], listener.last["runtime"] >= 0) == ("3", True)
        assert listener.until("task-failed", bad.id) == ["task-received", "task-started", "task-failed"]
        assert "Oops" in listener.last["exception"]
        assert "task-retried" in listener.until("task-succeeded", late.id)
        received = next(event for event in listener.events if event["type"] == "task-received")
        assert (received["name"], received["args"], received["retries"]) == ("add", "[1, 2]", 0)


def test_events_of_revoked_tasks(watched_site: Site) -> None:
    with Listener(watched_site) as listener:
        result = tasks.add.apply_async((1, 1), countdown=3600)
        result.revoke()

        listener.until("task-revoked", result.id)
        with pytest.raises(TaskRevokedError):
            result.get(timeout=PATIENCE)


def test_heartbeats_of_workers(watched_site: Site) -> None:
    with Listener(watched_site) as listener:
        listener.until("worker-heartbeat")

        assert listener.last["hostname"].endswith("@signals")
        assert listener.last["active"] >= 0


def test_the_client_tells_what_it_has_sent(watched_site: Site) -> None:
    watched_site.app.conf.task_send_sent_event = True
    with Listener(watched_site) as listener:
        result = tasks.add.delay(1, 1)

        listener.until("task-sent", result.id)

    assert listener.last["queue"] == "celery"
