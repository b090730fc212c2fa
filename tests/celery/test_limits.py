"""Time limits, children that are replaced or die, and settings that mean something else elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import chord
from celery.exceptions import ChordError

from backroom.model.states import State
from tests.celery import tasks
from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from tests.celery.diary import Diary
    from tests.celery.workers import Site


def test_a_soft_time_limit_is_raised_in_the_task(on_prefork: Site) -> None:
    result = tasks.hang_softly.apply_async(soft_time_limit=2)

    assert result.get(timeout=PATIENCE) == "cleaned up"


def test_a_soft_time_limit_that_is_not_caught_fails_the_task(on_prefork: Site) -> None:
    result = tasks.hang.apply_async(soft_time_limit=0.2)

    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=PATIENCE)


def test_a_hard_time_limit_ends_the_task(site: Site, diary: Diary) -> None:
    result = tasks.hang.apply_async(time_limit=0.3, link_error=tasks.note_error.s())

    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=PATIENCE)
    assert diary.until(result.id, "errback")[-1][2] == "TimeLimitExceeded"


def test_the_handlers_of_a_task_hear_of_its_time_limit(on_prefork: Site, diary: Diary) -> None:
    result = tasks.watched.apply_async(("hangs",), time_limit=3)  # enough to begin, whatever holds it up

    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=PATIENCE)
    lines = diary.until(result.id, "after_return")
    assert [line[0] for line in lines] == ["before_start", "on_failure", "after_return"]
    assert lines[-1] == ["after_return", "FAILURE"]


def test_a_chord_fails_when_one_of_its_header_runs_too_long(on_prefork: Site) -> None:
    result = chord([tasks.hang.s().set(time_limit=0.3), tasks.add.s(1, 1)])(tasks.total.s())

    with pytest.raises(ChordError):
        on_prefork.app.AsyncResult(result.id).get(timeout=PATIENCE)


def test_time_limits_are_changed_by_remote_control(on_prefork: Site) -> None:
    control = on_prefork.app.control
    [answer] = control.time_limit("hang", hard=0.4, reply=True, limit=1, timeout=PATIENCE)
    assert "ok" in next(iter(answer.values()))

    try:
        with pytest.raises(TimeLimitExceeded):
            tasks.hang.delay().get(timeout=PATIENCE)
    finally:
        control.time_limit("hang", hard=None, soft=None, reply=True, limit=1, timeout=PATIENCE)


def test_a_task_whose_process_dies_is_run_again_and_then_fails(on_prefork: Site, diary: Diary) -> None:
    result = tasks.die.apply_async(link_error=tasks.note_error.s())

    with pytest.raises(WorkerLostError):
        result.get(timeout=PATIENCE)
    first, second, (kind, _, name) = (diary.next(result.id) for _ in range(3))
    assert first[1] != second[1]
    assert (kind, name) == ("errback", "WorkerLostError")
    job = on_prefork.store.inspection.get(result.id)
    assert (job.state, job.stalled, job.attempts_made) == (State.FAILED, 2, 0)


def test_a_chord_fails_when_one_of_its_header_is_lost(on_prefork: Site) -> None:
    result = chord([tasks.die.s(), tasks.add.s(1, 1)])(tasks.total.s())

    with pytest.raises(ChordError):
        on_prefork.app.AsyncResult(result.id).get(timeout=PATIENCE)


def test_children_are_replaced_after_so_many_tasks(unserved: Site) -> None:
    results = [tasks.told.delay() for _ in range(6)]

    with unserved.another_worker(
        "--pool", "prefork", "--concurrency", "1", "--max-tasks-per-child", "2", "--without-mingle"
    ):
        pids = [result.get(timeout=PATIENCE)["pid"] for result in results]

    assert len(set(pids)) >= 3
    assert all(pids.count(pid) <= 2 for pid in pids)


def test_late_acknowledgement_is_accepted_and_changes_nothing(on_threads: Site) -> None:
    assert tasks.late.delay().get(timeout=PATIENCE) == "late"
