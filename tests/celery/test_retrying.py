"""Tasks that do not end at once: retries, rejections, ``Ignore`` and replacements."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from celery.exceptions import Reject

from backroom.model.states import State
from tests.celery import tasks
from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from celery import Celery

    from tests.celery.diary import Diary
    from tests.celery.workers import Site

pytestmark = pytest.mark.usefixtures("site")


def test_a_task_retries_itself_under_its_id(site: Site) -> None:
    result = tasks.again.delay(2)

    assert result.get(timeout=PATIENCE) == 2
    job = site.store.inspection.get(result.id, attempts=True)
    assert job.attempts_made == 3
    assert job.attempt_log is not None
    assert [entry["outcome"] for entry in job.attempt_log] == ["failed", "failed", "completed"]


def test_between_tries_the_state_is_retry_with_the_reason(site: Site) -> None:
    result = tasks.again.delay(1, countdown=600)
    while (state := result.state) != "RETRY":
        assert state in {"PENDING", "STARTED"}
        site.store.events.read("$", block_ms=20)

    assert isinstance(result.result, tasks.Oops)
    job = site.store.inspection.get(result.id)
    assert job.state == State.DELAYED
    assert job.run_at is not None
    assert abs(job.run_at - datetime.now(UTC) - timedelta(seconds=600)) < timedelta(seconds=60)
    site.store.actions.promote(result.id)
    assert result.get(timeout=PATIENCE) == 1


def test_after_the_last_retry_the_original_exception_is_raised() -> None:
    with pytest.raises(tasks.Oops, match="try 3"):
        tasks.again.delay(99).get(timeout=PATIENCE)


def test_a_retry_may_change_the_arguments() -> None:
    assert tasks.count_down.delay(6).get(timeout=PATIENCE) == "0 after 3 retries"


def test_a_retry_that_is_not_raised_is_done_all_the_same() -> None:
    assert tasks.retry_quietly.delay().get(timeout=PATIENCE) == 2


def test_autoretry_with_backoff(site: Site) -> None:
    result = tasks.unreliable.delay()

    assert result.get(timeout=PATIENCE) == 1
    job = site.store.inspection.get(result.id, attempts=True)
    assert job.attempt_log is not None
    first, second = job.attempt_log
    # It counts from the moment at which the task asks for another try, and is settled a little later.
    pause = datetime.fromisoformat(second["startedAt"]) - datetime.fromisoformat(first["startedAt"])
    assert pause >= timedelta(seconds=0.99)


def test_autoretry_gives_up_after_max_retries(diary: Diary) -> None:
    result = tasks.hopeless.delay()

    with pytest.raises(tasks.Oops, match="no use"):
        result.get(timeout=PATIENCE)
    assert [diary.next(result.id) for _ in range(3)] == [[0], [1], [2]]
    assert diary.lines(result.id) == []


def test_a_retry_keeps_callbacks_headers_and_limits(diary: Diary) -> None:
    result = tasks.again.apply_async((2,), link=tasks.write.s("after retries"), headers={"mine": 1})

    assert result.get(timeout=PATIENCE) == 2
    assert diary.next("2") == ["after retries"]


def test_a_rejected_task_fails(app: Celery) -> None:
    result = tasks.reject.delay(requeue=False)

    with pytest.raises(Reject, match="never"):
        result.get(timeout=PATIENCE)
    assert app.AsyncResult(result.id).state == "FAILURE"


def test_a_task_rejected_with_requeue_comes_again_and_no_try_is_counted(site: Site, diary: Diary) -> None:
    result = tasks.reject.apply_async(kwargs={"requeue": True})

    assert result.get(timeout=PATIENCE) == "done"
    assert len(diary.lines(result.id)) >= 2
    assert site.store.inspection.get(result.id).attempts_made == 1


def test_a_task_that_ends_in_ignore_has_no_result() -> None:
    result = tasks.ignore.delay()

    assert result.get(timeout=PATIENCE) is None


def test_a_task_that_has_told_its_failure_itself_may_end_in_ignore() -> None:
    result = tasks.own_verdict.delay()

    with pytest.raises(ValueError, match="in my own words"):
        result.get(timeout=PATIENCE)
    assert result.state == "FAILURE"


@pytest.mark.parametrize(("how", "expected"), [("task", 3), ("chain", 12), ("group", [3, 8]), ("chord", 11)], ids=str)
def test_a_task_replaces_itself(how: str, expected: object) -> None:
    assert tasks.replaced.delay(how).get(timeout=PATIENCE) == expected
    assert (tasks.replaced.si(how) | tasks.same.s()).delay().get(timeout=PATIENCE) == expected


@pytest.mark.parametrize("how", ["failing chain", "failing chord"])
def test_a_task_fails_with_what_it_replaced_itself_with(how: str, diary: Diary) -> None:
    result = tasks.replaced.apply_async((how,), link_error=tasks.note_failed_id.s())

    with pytest.raises(Exception, match=r"in the (chain|header)"):
        result.get(timeout=PATIENCE)
    assert result.state == "FAILURE"
    assert diary.next(result.id) == ["errback task"]
