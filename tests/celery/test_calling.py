"""Calling tasks: every option of ``apply_async`` that says when, where and how a task runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from celery.exceptions import TaskRevokedError

from backroom.model.errors import InvalidInput
from backroom.model.states import State
from tests.celery import tasks
from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from celery import Celery

    from tests.celery.diary import Diary
    from tests.celery.workers import Site

pytestmark = pytest.mark.usefixtures("site")


def test_delay() -> None:
    assert tasks.add.delay(2, 3).get(timeout=PATIENCE) == 5


def test_keyword_arguments() -> None:
    result = tasks.echo.delay(1, "zwei", drei={"d": [3]}, ünï="cödé 🎉")

    assert result.get(timeout=PATIENCE) == {"args": [1, "zwei"], "kwargs": {"drei": {"d": [3]}, "ünï": "cödé 🎉"}}


def test_a_task_is_called_by_its_name(app: Celery) -> None:
    assert app.send_task("add", (1, 1)).get(timeout=PATIENCE) == 2


def test_a_task_of_an_id_of_the_callers_own(app: Celery) -> None:
    result = tasks.told.apply_async(task_id="invoice:2041")

    assert result.get(timeout=PATIENCE)["id"] == "invoice:2041"
    assert app.AsyncResult("invoice:2041").state == "SUCCESS"


def test_an_id_that_is_stored_is_not_submitted_again(site: Site) -> None:
    first = tasks.add.apply_async((1, 2), task_id=f"once-{site.url[-1]}")
    assert first.get(timeout=PATIENCE) == 3

    second = tasks.add.apply_async((40, 2), task_id=first.id)

    assert second.get(timeout=PATIENCE) == 3
    second.forget()
    assert tasks.add.apply_async((40, 2), task_id=first.id).get(timeout=PATIENCE) == 42


def test_countdown_keeps_the_task_in_the_store_until_it_is_due(site: Site) -> None:
    before = datetime.now(UTC)
    later, soon = tasks.told.apply_async(countdown=3600), tasks.told.apply_async(countdown=0.4)

    job = site.store.inspection.get(later.id)
    assert job.state == State.DELAYED
    assert later.state == "PENDING"
    told = soon.get(timeout=PATIENCE)
    done = site.store.inspection.get(soon.id)
    assert job.run_at is not None
    assert done.started_at is not None
    assert done.started_at >= datetime.fromisoformat(told["eta"]) >= before + timedelta(seconds=0.4)
    site.store.actions.promote(later.id)
    told = later.get(timeout=PATIENCE)
    assert datetime.fromisoformat(told["eta"]) - job.run_at < timedelta(milliseconds=1)


def test_eta_takes_times_with_and_without_a_zone(unserved: Site) -> None:
    unserved.app.conf.timezone = "Europe/Berlin"
    moment = datetime(2090, 7, 1, 12, 30, tzinfo=UTC)  # no day on which the clock there shows an hour twice
    there = moment.astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None)

    results = [tasks.add.apply_async((1, 1), eta=eta) for eta in (moment, there, moment.isoformat())]

    assert [unserved.store.inspection.get(result.id).run_at for result in results] == [moment] * 3


def test_an_eta_too_far_away_to_be_kept_is_refused(unserved: Site) -> None:
    with pytest.raises(InvalidInput, match="before 2100"):
        tasks.add.apply_async((1, 1), eta=datetime(2300, 1, 1, tzinfo=UTC))


def test_a_far_eta_waits_in_the_store_and_can_be_promoted(site: Site) -> None:
    result = tasks.add.apply_async((1, 1), eta=datetime.now(UTC) + timedelta(days=400))

    site.store.actions.promote(result.id)

    assert result.get(timeout=PATIENCE) == 2


def test_a_task_that_was_not_started_in_time_expires(site: Site) -> None:
    result = tasks.add.apply_async((1, 1), expires=0.05, queue="nobody-serves-this")

    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert result.state == "REVOKED"
    assert site.store.inspection.get(result.id).state == State.EXPIRED


def test_a_task_that_expired_before_it_was_called_does_not_run(diary: Diary) -> None:
    result = tasks.write.apply_async(("expired", "ran"), expires=datetime.now(UTC) - timedelta(hours=1))

    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert diary.lines("expired") == []


def test_lower_priorities_run_first(unserved: Site) -> None:
    for priority in (9, 0, 5, None):
        tasks.same.apply_async((priority,), priority=priority)

    waiting = unserved.store.redis.zrange(unserved.store.keys.state("celery", "waiting"), 0, -1)

    assert [unserved.store.inspection.get(str(job_id)).priority for job_id in waiting] == [0, 0, 5, 9]


def test_a_task_sees_its_priority_queue_and_headers() -> None:
    told = tasks.told.apply_async((1,), {"b": 2}, priority=7, headers={"mine": "yes"}).get(timeout=PATIENCE)

    assert told["delivery_info"] == {"exchange": "", "routing_key": "celery", "priority": 7, "redelivered": False}
    assert (told["mine"], told["headers"]) == ("yes", {"mine": "yes"})
    assert (told["args"], told["kwargs"], told["retries"]) == ([1], {"b": 2}, 0)
    assert (told["is_eager"], told["called_directly"]) == (False, False)


def test_a_task_knows_its_root_and_its_caller() -> None:
    called = tasks.told.delay().get(timeout=PATIENCE)

    assert (called["root_id"], called["parent_id"]) == (called["id"], None)
    assert called["origin"].startswith("gen")


def test_time_limits_of_one_call_are_seen_by_the_task() -> None:
    told = tasks.told.apply_async(time_limit=60, soft_time_limit=50).get(timeout=PATIENCE)

    assert told["timelimit"] == [60, 50]


def test_ignored_results_are_not_kept(app: Celery, diary: Diary) -> None:
    result = tasks.write.apply_async(("ignored", 1), ignore_result=True)

    assert diary.next("ignored") == [1]
    assert result.get(timeout=PATIENCE) is None
    known = app.AsyncResult(result.id)
    assert known.get(timeout=PATIENCE) is None
    assert known.state == "SUCCESS"


def test_callbacks_get_the_result(diary: Diary) -> None:
    tasks.add.apply_async((2, 2), link=[tasks.write.si("linked", "first"), tasks.add.s(1)])
    tasks.add.apply_async((2, 2), link=tasks.echo.s(100).on_error(tasks.note_failed_id.s()))
    tasks.same.apply_async(("linked",), link=tasks.write.s("second"))

    assert sorted([diary.next("linked"), diary.next("linked")]) == [["first"], ["second"]]


def test_errbacks_of_both_kinds_are_told(diary: Diary) -> None:
    failed = tasks.fail.apply_async(("so sad",), link_error=[tasks.note_error.s(), tasks.note_failed_id.s()])

    assert diary.next(failed.id) == ["errback", "Oops('so sad')", "Oops"]
    assert diary.next(failed.id) == ["errback task"]


def test_tasks_publish_tasks(site: Site) -> None:
    children = tasks.parent.delay(3).get(timeout=PATIENCE)

    assert [site.app.AsyncResult(child).get(timeout=PATIENCE) for child in children] == [0, 2, 4]


def test_calling_a_task_directly_runs_it_here() -> None:
    assert tasks.add(1, 2) == 3
    assert tasks.told.apply().get()["is_eager"] is True
