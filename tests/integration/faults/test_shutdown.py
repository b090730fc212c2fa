"""Workers that are told to stop: gently, at once, and when their jobs do not want to end; one of each pool."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from backroom.model.states import State
from tests.integration.engine.conftest import POOLS
from tests.integration.engine.stage import eventually
from tests.integration.faults.counting import all_completed, each_ran_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backroom.local.server import EmbeddedServer
    from tests.integration.engine.stage import Process, Stage

#: A grace time that outlasts what a test waits for, in seconds: who ends before does not wait for its end.
LONG = 600.0


def busy_workers(stage: Stage, how: str = "deaf", **settings: float) -> tuple[list[Process], list[str]]:
    """A worker of each pool, and the jobs that fill all their slots until the file ``go`` is there."""
    workers = stage.workers(*POOLS, **settings)
    running = [stage.submit("wait", how=how, **{"for": "go"}) for _ in range(4)]
    for job_id in running:
        stage.began(job_id)
    return workers, running


def tell(stage: Stage, workers: Sequence[Process], number: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal to stop to workers, and wait until they heed it."""
    for worker in workers:
        worker.send(number)
    for worker in workers:
        eventually(lambda name=worker: stage.wait_for_worker(name).state == "stopping")


def test_workers_told_to_stop_finish_what_runs_and_give_back_the_rest(stage: Stage) -> None:
    workers, running = busy_workers(stage)
    waiting = stage.submit_many("echo", [{} for _ in range(50)])

    for _ in range(2):  # a second signal changes nothing
        tell(stage, workers)
    stage.let("go")

    assert [worker.ended(within=stage.settings.shutdown_grace_seconds) for worker in workers] == [0, 0]
    assert {stage.job(job_id).state for job_id in running} == {State.COMPLETED}
    assert {stage.job(job_id).state for job_id in waiting} == {State.WAITING}
    stage.worker(pool="threads", concurrency=1)
    all_completed(stage, [*running, *waiting])
    each_ran_once(stage, [*running, *waiting])
    stage.kept_the_order(waiting)


def test_workers_told_to_stop_under_a_load_of_very_short_jobs_lose_and_double_none(stage: Stage) -> None:
    workers = stage.workers(*POOLS)
    ids = [id_ for _ in range(4) for id_ in stage.submit_many("echo", [{} for _ in range(1000)])]
    eventually(lambda: stage.store.queues.get("default").counts["completed"] > 1000)

    for worker in workers:
        worker.send(signal.SIGTERM)

    assert [worker.ended(within=stage.settings.shutdown_grace_seconds) for worker in workers] == [0, 0]
    assert stage.store.queues.get("default").counts["active"] == 0
    stage.worker(pool="threads")
    all_completed(stage, ids)
    each_ran_once(stage, ids)


def test_when_the_grace_time_is_over_running_jobs_go_back(stage: Stage) -> None:
    workers, running = busy_workers(stage, "stubborn", shutdown_grace_seconds=1)

    for worker in workers:
        worker.send(signal.SIGTERM)

    assert [worker.ended() for worker in workers] == [0, 0]
    jobs = [stage.job(job_id) for job_id in running]
    assert {(job.state, job.attempts_made, job.stalled) for job in jobs} == {(State.WAITING, 0, 0)}
    stage.let("go")
    stage.worker(pool="threads")
    all_completed(stage, running)


def test_a_cold_shutdown_gives_running_jobs_back_at_once(stage: Stage) -> None:
    workers, running = busy_workers(stage, "stubborn")
    waiting = stage.submit_many("echo", [{} for _ in range(10)])

    for worker in workers:
        worker.send(signal.SIGQUIT)

    assert all(worker.ended() != 0 for worker in workers)
    jobs = [stage.job(job_id) for job_id in [*running, *waiting]]
    assert {(job.state, job.attempts_made, job.stalled) for job in jobs} == {(State.WAITING, 0, 0)}


def test_a_cold_shutdown_interrupts_a_gentle_one(stage: Stage) -> None:
    workers, running = busy_workers(stage, "stubborn", shutdown_grace_seconds=LONG)
    tell(stage, workers)

    for worker in workers:
        worker.send(signal.SIGQUIT)

    for worker in workers:
        worker.ended()
    jobs = [stage.job(job_id) for job_id in running]
    assert {(job.state, job.stalled) for job in jobs} == {(State.WAITING, 0)}


def test_outcomes_are_settled_when_the_store_comes_back_within_the_grace_time(
    own_stage: Stage, own_server: EmbeddedServer
) -> None:
    stage = own_stage
    workers, running = busy_workers(stage)

    own_server.kill()
    stage.let("go")
    eventually(lambda: all(run.end for run in stage.runs()))
    for worker in workers:
        worker.send(signal.SIGTERM)
        eventually(lambda name=worker: "Warm shutdown" in name.output)
    own_server.start()

    assert [worker.ended() for worker in workers] == [0, 0]
    all_completed(stage, running)
    each_ran_once(stage, running)


def test_idle_workers_end_soon_although_the_store_is_away(own_stage: Stage, own_server: EmbeddedServer) -> None:
    stage = own_stage
    workers = stage.workers(*POOLS, shutdown_grace_seconds=LONG)
    stage.result(stage.submit("echo"))

    own_server.kill()
    for worker in workers:
        worker.send(signal.SIGTERM)

    assert [worker.ended() for worker in workers] == [0, 0]


def test_workers_that_wait_for_the_store_can_be_told_to_stop(own_stage: Stage, own_server: EmbeddedServer) -> None:
    own_server.kill()
    workers = [own_stage.worker(pool=pool, wait=False, shutdown_grace_seconds=LONG) for pool in POOLS]
    for worker in workers:
        eventually(lambda name=worker: "away" in name.output)

    for worker in workers:
        worker.send(signal.SIGTERM)

    for worker in workers:
        worker.ended()
