"""Jobs that are to run later: never early, and on time with and without a scheduler."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.integration.engine.stage import eventually

if TYPE_CHECKING:
    from tests.integration.engine.stage import Stage


def lateness(stage: Stage, job_id: str) -> float:
    """Seconds from the due time to the start, by the store's clock."""
    stage.result(job_id)
    [delayed] = stage.happened(job_id, "delayed")
    started = stage.job(job_id).started_at
    assert started is not None
    return started.timestamp() - int(delayed.fields["runAt"]) / 1000


def test_without_any_scheduler_a_worker_runs_what_is_due(stage: Stage) -> None:
    ids = stage.submit_many("echo", [{"delay": delay} for delay in (700, 300, 500)])

    for job_id in ids:
        assert lateness(stage, job_id) >= 0
    # In the order of their first claims: two that a busy worker claims together begin in either order.
    claimed = [event.job_id for event in stage.everything("active") if event.job_id in ids]
    assert list(dict.fromkeys(claimed)) == [ids[1], ids[2], ids[0]]


def test_a_job_for_next_year_does_not_hold_up_one_for_now(stage: Stage) -> None:
    far = stage.submit("echo", runAt=(datetime.now(UTC) + timedelta(days=365)).isoformat())
    near = stage.submit("echo", delay=300)

    assert 0 <= lateness(stage, near) < 30
    assert stage.job(far).state == "delayed"


def test_an_earlier_job_wakes_those_who_sleep_until_a_later_one(stage: Stage) -> None:
    later = stage.submit("echo", delay=60_000)
    eventually(lambda: stage.job(later).state == "delayed")

    sooner = stage.submit("echo", delay=200)

    assert 0 <= lateness(stage, sooner) < 30
    stage.store.actions.cancel(later)


def test_a_due_job_runs_although_every_wake_up_was_deleted(stage: Stage) -> None:
    job_id = stage.submit("echo", delay=500)
    for key in stage.store.redis.scan_iter(f"{stage.store.keys.wake()}*"):
        stage.store.redis.delete(key)

    assert 0 <= lateness(stage, job_id) < 30


def test_the_scheduler_makes_due_jobs_ready_while_every_slot_is_taken(empty_stage: Stage) -> None:
    stage = empty_stage
    stage.worker(pool="threads", concurrency=1)
    stage.scheduler()
    busy = stage.submit("wait", **{"for": "slot"})
    stage.began(busy)

    job_id = stage.submit("echo", delay=300)

    stage.wait_for(lambda event: event.job_id == job_id and event.type == "waiting")
    stage.let("slot")
    stage.result(busy)
    assert lateness(stage, job_id) >= 0


def test_a_paused_queue_keeps_what_becomes_due(stage: Stage) -> None:
    stage.store.queues.pause("calm")
    job_id = stage.submit("echo", delay=200, queue="calm")

    stage.wait_for(lambda event: event.job_id == job_id and event.type == "waiting")
    assert stage.store.queues.get("calm").counts["waiting"] == 1
    assert stage.runs(job_id) == []

    stage.store.queues.resume("calm")
    stage.result(job_id)
