"""Workers that stand still, and workers that are merely busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backroom.model.states import State
from tests.integration.engine.stage import eventually
from tests.integration.faults.counting import all_completed

if TYPE_CHECKING:
    from tests.integration.engine.stage import Stage


def test_the_late_result_of_a_worker_that_was_frozen_is_refused(stage: Stage, pool: str) -> None:
    frozen, other = stage.workers(pool, pool, concurrency=1)
    first = stage.submit("wait", **{"for": "go"})
    stage.began(first)
    if stage.job(first).worker != frozen.name:
        frozen, other = other, frozen

    frozen.freeze()
    stage.began(first, times=2)
    stage.let("go")
    done = stage.finished(first)
    assert done.worker == other.name
    frozen.thaw()

    # The one that was frozen has ended its run, in whatever way, once it does something else.
    other.stop()
    stage.result(stage.submit("echo"))
    stage.wait_until_idle(frozen)
    job = stage.job(first)
    assert (job.state, job.result, job.worker, job.finished_at) == (
        State.COMPLETED,
        "waited",
        other.name,
        done.finished_at,
    )
    assert (job.stalled, job.attempts_made) == (1, 1)
    assert len(stage.happened(first, "completed")) == 1


def test_a_job_that_was_lost_while_its_worker_was_frozen_is_stopped(stage: Stage, pool: str) -> None:
    """Nobody would take its result, and two of it at once may do harm."""
    frozen, other = stage.workers(pool, pool, concurrency=1)
    job_id = stage.submit("wait", how="talking", **{"for": "go"})
    stage.began(job_id)
    if stage.job(job_id).worker != frozen.name:
        frozen, other = other, frozen

    frozen.freeze()
    stage.began(job_id, times=2)
    frozen.thaw()

    eventually(lambda: f"the lease of job {job_id} was lost" in frozen.output)
    stage.wait_until_idle(frozen)
    assert stage.job(job_id).state is State.ACTIVE
    stage.let("go")
    assert stage.result(job_id) == "waited"
    assert [run.end is None for run in stage.runs(job_id)] == [True, False]
    assert stage.finished(job_id).worker == other.name


def test_a_lone_worker_that_was_frozen_takes_its_job_up_again(stage: Stage) -> None:
    """Two runs of one job meet in the threads of one process."""
    worker = stage.worker(pool="threads")
    stage.scheduler()
    job_id = stage.submit("wait", how="talking", **{"for": "go"})
    stage.began(job_id)

    worker.freeze()
    stage.wait_for(lambda event: event.job_id == job_id and event.type == "stalled")
    worker.thaw()

    stage.began(job_id, times=2)
    stage.let("go")
    all_completed(stage, [job_id], stalled=[job_id])


def test_a_job_much_longer_than_its_lease_runs_once_whatever_it_does(stage: Stage) -> None:
    stage.worker(pool="prefork", wait=False, queues=["children"])
    stage.worker(pool="threads", wait=False, queues=["threads"])
    stage.scheduler()
    seconds = 5 * stage.settings.lease_seconds

    ids = [
        stage.submit("spin", seconds=seconds, gil=True, queue="children"),
        stage.submit("nap", seconds=seconds, queue="children"),
        stage.submit("spin", seconds=seconds, queue="threads"),
        stage.submit("nap", seconds=seconds, queue="threads"),
    ]

    all_completed(stage, ids)
    for job_id in ids:
        [run] = stage.runs(job_id)
        assert run.end is not None
        assert run.end - run.begin >= seconds
        assert stage.happened(job_id, "stalled") == []
