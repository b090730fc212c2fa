"""Limits of a queue hold over all workers, whatever becomes of those who hold them."""

from __future__ import annotations

import signal
from itertools import pairwise
from typing import TYPE_CHECKING

from backroom.model.states import State
from backroom.store import Rate
from tests.integration.engine.conftest import POOLS
from tests.integration.engine.stage import eventually
from tests.integration.faults.counting import all_completed, each_ran_once

if TYPE_CHECKING:
    from tests.integration.engine.stage import Run, Stage


def test_one_job_a_second_over_two_workers(stage: Stage) -> None:
    """Ten jobs take nine seconds; those that must wait do so in the queue, and say why."""
    stage.workers(*POOLS, concurrency=5)
    stage.store.queues.set_limits("rated", rate=Rate(1, 1000))

    ids = stage.submit_many("echo", [{} for _ in range(10)], queue="rated")

    eventually(lambda: stage.store.queues.get("rated").counts[State.COMPLETED])
    for job_id in ids[-3:]:
        # For a moment after each window nothing holds them.
        job = eventually(lambda it=job_id: stage.job(it), until=lambda job: job.state_reason)
        assert job.state is State.WAITING
        assert job.state_reason is not None
        assert (job.state_reason["code"], "until" in job.state_reason) == ("rate-limited", True)
    assert stage.store.queues.get("rated").counts[State.DELAYED] == 0
    all_completed(stage, ids)
    each_ran_once(stage, ids)
    runs = stage.runs()
    assert [run.job_id for run in runs] == ids
    claims = [event.at for event in stage.everything("active")]
    assert claims[-1] - claims[0] >= 9000
    assert stage.most_in_a_window(ids, 1000) == 1


def test_a_rate_holds_also_when_workers_are_killed_and_their_jobs_run_again(stage: Stage) -> None:
    """A run that is lost has used up its place in the window: whatever it did, it did."""
    victims = stage.workers(*POOLS, concurrency=1)
    stage.store.queues.set_limits("rated", rate=Rate(2, 1000))
    ids = stage.submit_many("wait", [{"for": "go"} for _ in range(2)], queue="rated")
    for job_id in ids:
        stage.began(job_id)
    stage.worker(pool="threads", concurrency=5)
    more = stage.submit_many("echo", [{} for _ in range(4)], queue="rated")

    for victim in victims:
        victim.kill()
    stage.let("go")

    all_completed(stage, [*ids, *more], stalled=ids)
    each_ran_once(stage, [*ids, *more], twice=ids)
    assert len(stage.starts()) == 8
    assert stage.most_in_a_window([*ids, *more], 1000) == 2


def test_one_at_a_time_over_ten_slots_also_when_the_holder_is_killed(stage: Stage) -> None:
    workers = stage.workers(*POOLS, concurrency=5)
    stage.store.queues.set_limits("single", concurrency=1)
    held = stage.submit("wait", queue="single", **{"for": "go"})
    stage.began(held)
    ids = stage.submit_many("nap", [{"seconds": 0.02} for _ in range(40)], queue="single")
    reason = stage.job(ids[0]).state_reason
    assert reason is not None
    assert (stage.job(ids[0]).state, reason["code"]) == (State.WAITING, "concurrency")
    holder = next(worker for worker in workers if worker.name == stage.job(held).worker)

    holder.kill()
    stage.began(held, times=2)
    assert [run for run in stage.runs() if run.job_id in ids] == []  # nothing passed it meanwhile
    stage.let("go")

    all_completed(stage, [held, *ids], stalled=[held])
    each_ran_once(stage, [held, *ids], twice=[held])
    _, *runs = stage.runs()  # the first was killed
    assert [run.job_id for run in runs] == [held, *ids]
    assert overlapping(runs) == []


def test_one_at_a_time_also_when_jobs_kill_the_processes_that_run_them(stage: Stage) -> None:
    stage.workers("prefork", "prefork", concurrency=5)
    stage.store.queues.set_limits("single", concurrency=1)

    ids = []
    for _ in range(3):
        ids += stage.submit_many("nap", [{"seconds": 0.02} for _ in range(5)], queue="single")
        ids.append(stage.submit("die", queue="single"))

    eventually(lambda: stage.store.queues.get("single").counts, until=lambda counts: not counts[State.WAITING])
    for job_id in ids:
        stage.finished(job_id)
    assert stage.store.queues.get("single").counts[State.COMPLETED] == 15
    assert stage.store.queues.get("single").counts[State.FAILED] == 3
    runs = [run for run in stage.runs() if run.end]
    assert len(runs) == 15
    assert overlapping(runs) == []


def test_workers_in_a_long_window_stop_at_once(stage: Stage) -> None:
    workers = stage.workers(*POOLS)
    stage.store.queues.set_limits("slow", rate=Rate(1, 60_000))
    ids = stage.submit_many("echo", [{} for _ in range(5)], queue="slow")
    eventually(lambda: stage.store.queues.get("slow").counts[State.COMPLETED])

    for worker in workers:
        worker.send(signal.SIGTERM)

    assert [worker.ended(within=45) for worker in workers] == [0, 0]
    assert sorted(stage.job(job_id).state for job_id in ids) == ["completed"] + ["waiting"] * 4
    each_ran_once(stage, [job_id for job_id in ids if stage.job(job_id).state is State.COMPLETED])


def overlapping(runs: list[Run]) -> list[tuple[Run, Run]]:
    """Runs that began before the one before them had ended."""
    return [(one, other) for one, other in pairwise(runs) if one.end is None or other.begin < one.end]
