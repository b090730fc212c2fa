"""Which queues a worker serves, and their limits, which hold over all workers."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from backroom.store import Rate
from tests.integration.engine.stage import Run, Stage, eventually

if TYPE_CHECKING:
    import pytest

    from backroom.local.server import EmbeddedServer


def most_at_once(runs: list[Run]) -> int:
    """The most runs that were under way at the same time."""
    steps = sorted([(run.begin, 1) for run in runs] + [(run.end or float("inf"), -1) for run in runs])
    running = most = 0
    for _, step in steps:
        running += step
        most = max(most, running)
    return most


def test_a_worker_serves_every_queue_new_ones_too(stage: Stage) -> None:
    ids = {queue: stage.submit("echo", queue=queue) for queue in ("a-queue", "another", "yet.another~1")}

    for queue, job_id in ids.items():
        stage.result(job_id)
        assert stage.job(job_id).queue == queue


def test_a_new_queue_is_served_at_once_by_an_idle_worker(stage: Stage) -> None:
    waits = []
    for number in range(5):
        job_id = stage.submit("echo", queue=f"new-{number}")
        stage.result(job_id)
        waits.append(stage.job(job_id).wait_ms)

    assert min(wait for wait in waits if wait is not None) < 1000


def test_a_worker_of_named_queues_serves_those_alone(empty_stage: Stage) -> None:
    stage = empty_stage
    worker = stage.worker(pool="threads", queues=["mine", "ours"])
    theirs = stage.submit("echo", queue="theirs")
    mine = [stage.submit("echo", queue=queue) for queue in ("mine", "ours", "mine")]

    for job_id in mine:
        stage.result(job_id)
    assert stage.job(theirs).state == "waiting"

    assert "ok" in stage.control("add_consumer", to=worker, queue="theirs")
    stage.result(theirs)
    stage.result(stage.submit("echo", queue="theirs"))


def test_a_worker_that_leaves_a_queue_alone_swallows_no_wake_up_for_it(
    own_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing else would have the job found: nobody looks by himself, or sweeps, for much longer than that takes."""
    patient = {"idle_wait_seconds": 60, "worker_sweep_seconds": 600}
    with Stage(own_server.url, "picky", tmp_path_factory.mktemp("stage")) as stage:
        stage.worker(pool="threads", options=["-X", "left"], **patient)
        eventually(lambda: asleep(stage), until=lambda number: number == 1)  # the first in line
        stage.worker(pool="threads", **patient)
        eventually(lambda: asleep(stage), until=lambda number: number == 2)

        for _ in range(5):
            job_id = stage.submit("echo", queue="left")
            stage.result(job_id)
            wait = stage.job(job_id).wait_ms
            assert wait is not None
            assert wait < 30_000
            eventually(lambda: asleep(stage), until=lambda number: number == 2)
        stage.result(stage.submit("echo"))


def asleep(stage: Stage) -> int:
    """How many workers sleep until they are woken."""
    return sum(client["cmd"] == "bzpopmin" for client in stage.store.redis.client_list())


def test_a_paused_queue_starts_nothing_and_goes_on_when_resumed(stage: Stage) -> None:
    stage.store.queues.pause("stopped")
    ids = [stage.submit("echo", queue="stopped") for _ in range(5)]
    stage.result(stage.submit("echo"))

    reason = stage.job(ids[0]).state_reason
    assert reason is not None
    assert reason["code"] == "paused"
    assert all(stage.runs(job_id) == [] for job_id in ids)

    stage.store.queues.resume("stopped")
    for job_id in ids:
        stage.result(job_id)


def test_a_concurrency_of_one_holds_over_all_workers_and_keeps_the_order(pair: Stage) -> None:
    pair.store.queues.set_limits("one-by-one", concurrency=1)

    ids = pair.submit_many("nap", [{"seconds": 0.01} for _ in range(60)], queue="one-by-one")

    for job_id in ids:
        pair.result(job_id)
    runs = [run for run in pair.runs() if run.job_id in set(ids)]
    assert most_at_once(runs) == 1
    assert [run.job_id for run in runs] == ids


def test_a_rate_limit_holds_over_all_workers(pair: Stage) -> None:
    pair.store.queues.set_limits("rated", rate=Rate(2, 400))

    ids = pair.submit_many("echo", [{} for _ in range(9)], queue="rated")

    for job_id in ids:
        pair.result(job_id)
    assert len([start for start in pair.starts() if start.job_id in ids]) == len(ids)
    assert pair.most_in_a_window(ids, 400) <= 2


def test_a_job_that_waits_for_the_next_window_says_so(pair: Stage) -> None:
    pair.store.queues.set_limits("long-window", rate=Rate(2, 600_000))

    *ids, last = pair.submit_many("echo", [{} for _ in range(3)], queue="long-window")
    for job_id in ids:
        pair.result(job_id)

    eventually(lambda: (reason := pair.job(last).state_reason) and reason["code"] == "rate-limited")
    pair.store.actions.cancel(last)


def test_workers_in_a_long_limit_window_stop_at_once(empty_stage: Stage) -> None:
    stage = empty_stage
    workers = stage.workers("prefork", "threads")
    stage.store.queues.set_limits("slow", rate=Rate(1, 60_000))
    ids = stage.submit_many("echo", [{} for _ in range(3)], queue="slow")
    stage.wait_for(lambda event: event.type == "completed")

    for worker in workers:
        worker.send(signal.SIGTERM)

    assert [worker.ended(within=45) for worker in workers] == [0, 0]
    assert sorted(stage.job(job_id).state for job_id in ids) == ["completed", "waiting", "waiting"]
