"""Workers that are told to stop: gently, at once, and when their jobs do not want to end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from backroom.model.states import State
from tests.integration.engine.stage import eventually
from tests.integration.faults.counting import all_completed, each_ran_once

if TYPE_CHECKING:
    from backroom.local.server import EmbeddedServer
    from tests.integration.engine.stage import Stage


def test_a_worker_told_to_stop_finishes_what_runs_and_gives_back_the_rest(stage: Stage, pool: str) -> None:
    worker = stage.worker(pool=pool)
    running = [stage.submit("wait", **{"for": "go"}) for _ in range(2)]
    for job_id in running:
        stage.began(job_id)
    waiting = stage.submit_many("echo", [{} for _ in range(50)])

    worker.send(signal.SIGTERM)
    eventually(lambda: stage.wait_for_worker(worker).state == "stopping")
    stage.let("go")

    assert worker.ended(within=stage.settings.shutdown_grace_seconds) == 0
    assert [stage.job(job_id).state for job_id in running] == [State.COMPLETED] * 2
    assert {stage.job(job_id).state for job_id in waiting} == {State.WAITING}
    stage.worker(pool=pool, concurrency=1)
    all_completed(stage, [*running, *waiting])
    each_ran_once(stage, [*running, *waiting])
    assert [run.job_id for run in stage.runs() if run.job_id in waiting] == waiting


def test_a_worker_told_to_stop_under_a_load_of_very_short_jobs_loses_and_doubles_none(stage: Stage, pool: str) -> None:
    first, second = stage.workers(pool, pool)
    ids = [id_ for _ in range(4) for id_ in stage.submit_many("echo", [{} for _ in range(1000)])]
    eventually(lambda: stage.store.queues.get("default").counts["completed"] > 1000)

    first.send(signal.SIGTERM)

    assert first.ended(within=stage.settings.shutdown_grace_seconds) == 0
    all_completed(stage, ids)
    each_ran_once(stage, ids)
    assert second.stop() == 0


def test_a_second_signal_to_stop_changes_nothing(stage: Stage, pool: str) -> None:
    worker = stage.worker(pool=pool)
    job_id = stage.submit("wait", **{"for": "go"})
    stage.began(job_id)

    for _ in range(2):
        worker.send(signal.SIGTERM)
        eventually(lambda: stage.wait_for_worker(worker).state == "stopping")
    stage.let("go")

    assert worker.ended() == 0
    all_completed(stage, [job_id])


def test_when_the_grace_time_is_over_running_jobs_go_back(stage: Stage, pool: str) -> None:
    worker = stage.worker(pool=pool, shutdown_grace_seconds=1)
    job_id = stage.submit("wait", how="stubborn", **{"for": "go"})
    stage.began(job_id)

    assert worker.stop() == 0

    job = stage.job(job_id)
    assert (job.state, job.attempts_made, job.stalled) == (State.WAITING, 0, 0)
    stage.worker(pool=pool)
    stage.began(job_id, times=2)
    stage.let("go")
    all_completed(stage, [job_id])


def test_a_cold_shutdown_gives_running_jobs_back_at_once(stage: Stage, pool: str) -> None:
    worker = stage.worker(pool=pool)
    running = [stage.submit("wait", how="stubborn", **{"for": "go"}) for _ in range(2)]
    for job_id in running:
        stage.began(job_id)
    waiting = stage.submit_many("echo", [{} for _ in range(10)])

    worker.send(signal.SIGQUIT)

    assert worker.ended() != 0
    jobs = [stage.job(job_id) for job_id in [*running, *waiting]]
    assert {(job.state, job.attempts_made, job.stalled) for job in jobs} == {(State.WAITING, 0, 0)}
    stage.worker(pool=pool)
    stage.let("go")
    all_completed(stage, [*running, *waiting])


def test_a_cold_shutdown_interrupts_a_gentle_one(stage: Stage, pool: str) -> None:
    worker = stage.worker(pool=pool)
    job_id = stage.submit("wait", how="stubborn", **{"for": "go"})
    stage.began(job_id)
    worker.send(signal.SIGTERM)
    eventually(lambda: stage.wait_for_worker(worker).state == "stopping")

    worker.send(signal.SIGQUIT)

    worker.ended(within=10)
    assert (stage.job(job_id).state, stage.job(job_id).stalled) == (State.WAITING, 0)


def test_an_outcome_is_settled_when_the_store_comes_back_within_the_grace_time(
    own_stage: Stage, own_server: EmbeddedServer, pool: str
) -> None:
    stage = own_stage
    worker = stage.worker(pool=pool)
    job_id = stage.submit("wait", **{"for": "go"})
    stage.began(job_id)

    own_server.kill()
    stage.let("go")
    eventually(lambda: stage.runs(job_id)[0].end)
    worker.send(signal.SIGTERM)
    own_server.start()

    assert worker.ended() == 0
    all_completed(stage, [job_id])
    each_ran_once(stage, [job_id])


def test_a_worker_ends_although_the_store_is_away(own_stage: Stage, own_server: EmbeddedServer, pool: str) -> None:
    stage = own_stage
    worker = stage.worker(pool=pool)
    stage.result(stage.submit("echo"))

    own_server.kill()

    assert worker.stop(within=15) == 0


def test_a_worker_that_waits_for_the_store_can_be_told_to_stop(
    own_stage: Stage, own_server: EmbeddedServer, pool: str
) -> None:
    own_server.kill()
    worker = own_stage.worker(pool=pool, wait=False)
    eventually(lambda: "away" in worker.output)

    worker.send(signal.SIGTERM)

    worker.ended(within=15)
