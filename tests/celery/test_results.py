"""Results: states, values, errors, children, groups of results, and waiting for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import group
from celery.exceptions import TimeoutError as ResultTimeout
from celery.result import GroupResult, ResultSet

from tests.celery import tasks
from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from celery import Celery

    from tests.celery.diary import Diary
    from tests.celery.workers import Site

pytestmark = pytest.mark.usefixtures("site")


def test_the_life_of_a_successful_task(app: Celery, diary: Diary) -> None:
    result = tasks.wait.delay("life")
    assert not result.ready()
    assert diary.next(result.id)[0] == "running"
    assert (result.state, result.ready(), result.result) == ("STARTED", False, None)

    diary.note("life", "bread")

    assert result.get(timeout=PATIENCE) == "bread"
    assert (result.state, result.ready(), result.successful(), result.failed()) == ("SUCCESS", True, True, False)
    same = app.AsyncResult(result.id)
    assert (same.get(timeout=PATIENCE), same.result, same.traceback) == ("bread", "bread", None)
    assert same.date_done is not None


def test_a_failed_task_raises_its_own_exception() -> None:
    result = tasks.fail.delay("bad", 7)

    with pytest.raises(tasks.Oops) as caught:
        result.get(timeout=PATIENCE)
    assert caught.value.args == ("bad", 7)
    assert (result.state, result.failed(), result.successful()) == ("FAILURE", True, False)
    assert "raise Oops(*words)" in result.traceback
    assert isinstance(result.get(propagate=False), tasks.Oops)
    assert result.maybe_throw(propagate=False).args == ("bad", 7)


def test_exceptions_keep_dates_and_texts_for_other_arguments() -> None:
    from decimal import Decimal  # noqa: PLC0415 - what this test is about

    result = tasks.fail.apply_async((Decimal("1.5"), {"a", "b"}), serializer="pickle")

    error = result.get(timeout=PATIENCE, propagate=False)
    assert error.args[0] == Decimal("1.5")
    assert error.args[1] in {"{'a', 'b'}", "{'b', 'a'}"}


def test_an_unknown_task_id_is_pending(app: Celery) -> None:
    result = app.AsyncResult("nobody-knows")

    assert (result.state, result.result, result.ready()) == ("PENDING", None, False)


def test_waiting_ends_after_the_time_out(app: Celery) -> None:
    with pytest.raises(ResultTimeout):
        app.AsyncResult("nobody-knows-either").get(timeout=0.1)


def test_what_a_task_says_of_its_progress(app: Celery, diary: Diary) -> None:
    result = tasks.progress.delay(page := f"progress {app.conf.broker_url}")
    heard: list[dict[str, Any]] = []
    begin = iter(["begin"])

    def listen(meta: dict[str, Any]) -> None:
        heard.append(meta)
        diary.note(page, "go on")

    def listens() -> None:
        for word in begin:
            diary.note(page, word)

    assert result.get(timeout=PATIENCE, on_message=listen, on_interval=listens) == "done"
    assert [(meta["status"], meta["result"]) for meta in heard if meta["task_id"] == result.id] == [
        ("PROGRESS", {"percent": 10}),
        ("PROGRESS", {"percent": 60}),
        ("SUCCESS", "done"),
    ]


def test_forgetting_removes_the_job(site: Site) -> None:
    result = tasks.add.delay(1, 1)
    assert result.get(timeout=PATIENCE) == 2

    result.forget()

    assert result.state == "PENDING"
    assert site.store.inspection.record(result.id) is None


def test_children_are_the_tasks_it_published(app: Celery) -> None:
    result = tasks.parent.delay(2)

    children = result.get(timeout=PATIENCE)

    assert [child.id for child in result.children] == children
    assert [child.id for child in app.AsyncResult(result.id).children] == children
    assert sorted(value for _, value in result.collect() if isinstance(value, int)) == [0, 2]


def test_extended_results(app: Celery) -> None:
    result = tasks.echo.delay(1, b=2)
    result.get(timeout=PATIENCE)

    known = app.AsyncResult(result.id)

    assert (known.name, known.args, known.kwargs, known.queue, known.retries) == ("echo", [1], {"b": 2}, "celery", 0)
    assert known.worker.startswith(("prefork@", "threads@"))


def test_waiting_for_several_results(app: Celery) -> None:
    results = ResultSet([tasks.add.delay(n, n) for n in range(4)], app=app)

    assert results.get(timeout=PATIENCE) == [0, 2, 4, 6]
    assert results.successful()
    assert results.completed_count() == 4
    results.add(tasks.fail.delay("one of them"))
    with pytest.raises(tasks.Oops):
        results.join(timeout=PATIENCE)
    assert results.failed()


def test_results_come_as_they_are_ready(app: Celery, diary: Diary) -> None:
    slow, fast = tasks.wait.delay("as ready"), tasks.same.delay("fast")
    results = ResultSet([slow, fast], app=app)
    order = []
    for task_id, value in results.iter_native(timeout=PATIENCE):
        order.append((task_id, value["result"]))
        if len(order) == 1:
            diary.note("as ready", "slow")

    assert order == [(fast.id, "fast"), (slow.id, "slow")]


def test_a_group_result_is_saved_and_restored(app: Celery) -> None:
    result = group(tasks.add.s(n, 1) for n in range(3)).delay()
    result.save()

    again = GroupResult.restore(result.id, app=app)

    assert again.get(timeout=PATIENCE) == [1, 2, 3]
    assert again.ready()
    again.delete()
    assert GroupResult.restore(result.id, app=app) is None


def test_waiting_for_a_group_ends_after_the_time_out(diary: Diary) -> None:
    result = group(tasks.same.s(1), tasks.wait.s("group time-out")).delay()

    with pytest.raises(ResultTimeout):
        result.get(timeout=0.2)

    diary.note("group time-out", 2)
    assert result.get(timeout=PATIENCE) == [1, 2]


def test_a_callback_is_called_when_the_result_is_there() -> None:
    seen = []

    tasks.add.delay(1, 1).get(timeout=PATIENCE, callback=lambda task_id, value: seen.append((task_id, value)))

    assert [value for _, value in seen] == [2]


def test_a_result_that_is_no_json_fails_the_task() -> None:
    result = tasks.same.apply_async((frozenset([1]),), serializer="pickle")

    with pytest.raises(Exception, match="the result is not JSON"):
        result.get(timeout=PATIENCE)
