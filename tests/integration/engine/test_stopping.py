"""Jobs that are cancelled, run too long, or are never started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.errors import WrongState
from backroom.model.states import State
from tests.integration.engine.stage import eventually

if TYPE_CHECKING:
    from backroom.model.job import Job
    from tests.integration.engine.stage import Stage

#: Threads cannot be ended, nor interrupted.
in_processes = pytest.mark.parametrize("pool", ["prefork"], indirect=True)


def a_running_job(stage: Stage, how: str, **options: object) -> str:
    job_id = stage.submit("wait", how=how, **{"for": "never"}, **options)
    stage.began(job_id)
    return job_id


def cancelled(stage: Stage, job_id: str) -> Job:
    stage.store.actions.cancel(job_id)
    job = stage.finished(job_id)
    assert job.state is State.CANCELLED
    return job


def still_works(stage: Stage) -> bool:
    """Whether both slots of the worker do jobs: jobs that each wait for the other's being there."""
    ids = [stage.submit("wait", **{"for": "both-there"}) for _ in range(2)]
    for job_id in ids:
        stage.began(job_id)
    stage.let("both-there")
    both = [stage.result(job_id) for job_id in ids] == ["waited", "waited"]
    (stage.folder / "both-there").unlink()
    return both


def test_a_waiting_job_is_cancelled_at_once(stage: Stage) -> None:
    stage.store.queues.pause("paused")
    job_id = stage.submit("echo", queue="paused")

    stage.store.actions.cancel(job_id)

    assert stage.job(job_id).state is State.CANCELLED


def test_a_delayed_job_is_cancelled_at_once(stage: Stage) -> None:
    job_id = stage.submit("echo", delay=60_000)

    stage.store.actions.cancel(job_id)

    assert stage.job(job_id).state is State.CANCELLED


def test_a_finished_job_cannot_be_cancelled(stage: Stage) -> None:
    job_id = stage.submit("echo")
    stage.result(job_id)

    with pytest.raises(WrongState):
        stage.store.actions.cancel(job_id)


def test_a_running_job_that_reports_is_stopped_where_it_does(stage: Stage) -> None:
    job_id = a_running_job(stage, "talking")

    job = cancelled(stage, job_id)

    assert [entry["outcome"] for entry in job.attempt_log] == ["cancelled"]
    assert stage.runs(job_id)[0].end is None


def test_a_running_job_may_tidy_up_and_what_it_logs_then_is_kept(stage: Stage, pool: str) -> None:
    job_id = stage.submit("wait", how="tidy" if pool == "prefork" else "talking", **{"for": "never"})
    stage.began(job_id)

    cancelled(stage, job_id)

    lines = [line.message for line in stage.store.inspection.logs(job_id).logs]
    assert lines == ["waiting for never", *(["tidying up"] if pool == "prefork" else [])]


def test_a_running_job_that_looks_stops_by_itself_and_counts_as_cancelled(stage: Stage, pool: str) -> None:
    job_id = a_running_job(stage, "looking")

    cancelled(stage, job_id)

    if pool == "threads":
        assert eventually(lambda: stage.noted(job_id, "saw"))


@in_processes
def test_a_job_that_swallows_every_exception_is_ended_all_the_same(stage: Stage) -> None:
    job_id = a_running_job(stage, "stubborn")

    job = cancelled(stage, job_id)

    assert job.stalled == 0
    assert still_works(stage)


@in_processes
def test_a_job_is_ended_together_with_what_holds_the_interpreter(stage: Stage) -> None:
    job_id = stage.submit("spin", seconds=600, gil=True)
    stage.began(job_id)

    cancelled(stage, job_id)

    assert still_works(stage)


def test_a_job_that_runs_longer_than_its_timeout_has_failed_that_try(stage: Stage) -> None:
    job = stage.finished(stage.submit("wait", how="talking", timeout=2000, attempts=2, **{"for": "never"}))

    assert (job.state, job.attempts_made, job.stalled) == (State.FAILED, 2, 0)
    assert job.error is not None
    assert job.error["type"] == "TimeLimitExceeded"
    assert [entry["outcome"] for entry in job.attempt_log] == ["timeout", "timeout"]
    runs = stage.runs(job.id)
    assert len(runs) == 2
    assert runs[1].begin - runs[0].begin >= 2


@in_processes
def test_a_timeout_ends_a_job_that_swallows_every_exception(stage: Stage) -> None:
    job = stage.finished(stage.submit("wait", how="stubborn", timeout=300, **{"for": "never"}))

    assert job.state is State.FAILED
    assert [entry["outcome"] for entry in job.attempt_log] == ["timeout"]
    assert still_works(stage)


def test_a_job_that_ends_in_time_is_not_touched(stage: Stage) -> None:
    assert stage.finished(stage.submit("nap", seconds=0.05, timeout=30_000)).state is State.COMPLETED


@in_processes
def test_the_soft_timeout_is_an_exception_in_the_job(stage: Stage) -> None:
    assert stage.result(stage.submit("soft", heeds=True)) == "in time"

    job = stage.finished(stage.submit("soft"))
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["type"] == "SoftTimeLimitExceeded"
    assert [entry["outcome"] for entry in job.attempt_log] == ["timeout"]


def test_a_job_that_is_not_started_in_time_expires(stage: Stage) -> None:
    stage.store.queues.pause("held")
    job_id = stage.submit("echo", ttl=200, queue="held")

    assert stage.finished(job_id).state is State.EXPIRED

    stage.store.queues.resume("held")
    assert stage.result(stage.submit("echo", queue="held")) == {}
    assert stage.runs(job_id) == []


def test_a_job_that_started_in_time_does_not_expire(stage: Stage) -> None:
    job_id = stage.submit("wait", ttl=30_000, **{"for": "in-time"})
    stage.began(job_id)

    stage.let("in-time")

    assert stage.result(job_id) == "waited"


def test_a_job_in_a_thread_that_never_looks_is_given_up_and_its_late_result_refused(empty_stage: Stage) -> None:
    stage = empty_stage
    worker = stage.worker(pool="threads", concurrency=2)
    job_id = stage.submit("wait", **{"for": "late"})
    stage.began(job_id)
    overdue = stage.submit("wait", timeout=3000, **{"for": "late"})
    stage.began(overdue)

    cancelled(stage, job_id)

    job = stage.finished(overdue)
    assert (job.state, [entry["outcome"] for entry in job.attempt_log]) == (State.FAILED, ["timeout"])
    # Both threads are still taken: what comes now waits in the store and not in the worker.
    waiting = stage.submit("echo")
    stage.wait_for_news(worker, until=lambda view: (view.busy, view.jobs) == (2, ()))
    assert stage.happened(waiting, "active") == []
    stage.let("late")
    assert stage.result(waiting) == {}
    eventually(lambda: stage.runs(job_id)[0].end and stage.runs(overdue)[0].end)
    assert stage.job(job_id).state is State.CANCELLED
    assert stage.job(overdue).state is State.FAILED
