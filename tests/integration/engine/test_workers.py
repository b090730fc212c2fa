"""Workers: what they say of themselves, what they offer, and how they are led."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from backroom.model.states import State
from tests.integration.engine.stage import eventually

if TYPE_CHECKING:
    from tests.integration.engine.stage import Stage


def test_a_worker_says_what_it_is_and_does(stage: Stage, pool: str) -> None:
    job_id = stage.submit("wait", **{"for": "shown"})
    stage.began(job_id)

    # Until it has reported again, it shows what it did before.
    view = eventually(lambda: next((each for each in stage.store.workers.list() if each.jobs == (job_id,)), None))

    assert view is not None
    assert (view.id, view.queues, view.slots, view.busy, view.jobs) == ("worker-1@here", None, 2, 1, (job_id,))
    assert (view.pool, view.state) == (pool, "running")
    assert view.started_at <= view.heartbeat_at
    assert stage.job(job_id).worker == view.id
    stage.let("shown")
    eventually(lambda: stage.store.workers.list()[0].busy == 0)
    assert stage.store.workers.list()[0].heartbeat_at > view.heartbeat_at


def test_a_worker_publishes_its_job_types(stage: Stage) -> None:
    eventually(stage.store.job_types.list)  # it says that it lives a moment before
    ordered, add = stage.store.job_types.get("ordered"), stage.store.job_types.get("add")

    assert ordered is not None
    assert (ordered.queue, ordered.description, ordered.workers) == ("orders", "Takes a model.", 1)
    assert ordered.schema["properties"]["number"] == {"minimum": 1, "title": "Number", "type": "integer"}
    assert ordered.defaults == {"attempts": 3}
    assert add is not None
    assert (add.queue, add.description, add.schema) == ("default", "Plain Celery.", {})


def test_a_worker_that_is_quiet_claims_nothing(stage: Stage) -> None:
    assert stage.control("backroom_quiet", to=stage.first) == {"ok": "quiet"}
    job_id = stage.submit("echo")
    eventually(lambda: stage.store.workers.list()[0].state == "quiet")
    assert stage.runs(job_id) == []

    assert stage.control("backroom_quiet", to=stage.first, on=False) == {"ok": "running"}

    stage.result(job_id)


def test_what_the_event_loop_meets_cannot_lose_a_job(stage: Stage) -> None:
    """Celery starts its consumer anew when a connection fails, and lets its pool forget what was not accepted."""
    held = [stage.submit("wait", **{"for": "upset"}) for _ in range(2)]
    for job_id in held:
        stage.began(job_id)
    waiting = stage.submit_many("echo", [{} for _ in range(20)])

    assert stage.control("upset", to=stage.first) == {"ok": "it will"}
    more = stage.submit_many("echo", [{} for _ in range(200)])
    stage.let("upset")

    for job_id in [*held, *waiting, *more]:
        job = stage.finished(job_id)
        assert (job.state, job.stalled, job.attempts_made) == (State.COMPLETED, 0, 1)
        assert len(stage.runs(job_id)) == 1
    assert stage.control("ping", to=stage.first) == {"ok": "pong"}


def test_a_worker_leaves_with_its_job_types(empty_stage: Stage) -> None:
    stage = empty_stage
    worker = stage.worker(pool="threads", job_type_ttl_seconds=5)
    eventually(lambda: stage.store.job_types.get("echo"))

    assert worker.stop() == 0

    assert stage.store.workers.list() == []
    eventually(lambda: stage.store.job_types.list() == [])


def test_children_are_replaced_after_their_number_of_jobs(empty_stage: Stage) -> None:
    stage = empty_stage
    stage.worker(pool="prefork", concurrency=2, options=["--max-tasks-per-child", "5"])

    ids = stage.submit_many("echo", [{} for _ in range(60)])

    for job_id in ids:
        job = stage.finished(job_id)
        assert (job.state, job.stalled) == (State.COMPLETED, 0)
    runs = stage.runs()
    assert sorted(run.job_id for run in runs) == sorted(ids)
    pids = [run.pid for run in runs]
    assert all(pids.count(pid) <= 5 for pid in pids)


def test_a_pool_grows_and_shrinks_while_it_works(empty_stage: Stage) -> None:
    stage = empty_stage
    worker = stage.worker(pool="prefork", concurrency=1)
    assert len(worker.children()) == 1

    assert "ok" in stage.control("pool_grow", to=worker, n=2)
    ids = stage.submit_many("wait", [{"for": "grown"} for _ in range(3)])
    for job_id in ids:
        stage.began(job_id)
    stage.let("grown")
    for job_id in ids:
        stage.result(job_id)

    assert "ok" in stage.control("pool_shrink", to=worker, n=2)
    eventually(lambda: len(worker.children()) == 1)
    for job_id in stage.submit_many("echo", [{} for _ in range(50)]):
        assert stage.finished(job_id).stalled == 0


def test_time_limits_of_the_worker_hold_for_jobs_without_their_own(empty_stage: Stage) -> None:
    stage = empty_stage
    stage.worker(pool="prefork", options=["--time-limit", "1"])

    job = stage.finished(stage.submit("wait", **{"for": "never"}))

    assert (job.state, [entry["outcome"] for entry in job.attempt_log]) == (State.FAILED, ["timeout"])
    assert stage.finished(stage.submit("nap", seconds=1.5, timeout=30_000)).state is State.COMPLETED


@pytest.mark.parametrize("pool_name", ["gevent", "eventlet"])
def test_pools_that_cannot_run_jobs_are_refused(empty_stage: Stage, pool_name: str) -> None:
    worker = empty_stage.worker(pool=pool_name, wait=False)

    assert worker.ended() != 0


def test_the_solo_pool_works_too(empty_stage: Stage) -> None:
    stage = empty_stage
    worker = stage.worker(pool="solo", concurrency=1)

    ids = stage.submit_many("echo", [{} for _ in range(300)])

    for job_id in ids:
        stage.result(job_id)
    stage.kept_the_order(ids)
    long = stage.submit("nap", seconds=2 * stage.settings.lease_seconds)
    assert stage.finished(long).stalled == 0
    worker.send(signal.SIGTERM)
    assert worker.ended() == 0
