"""Delayed jobs: never early, in order, and promoted by whoever is there."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.job import NewJob, new_job
from backroom.model.options import parse_options
from backroom.model.states import State
from tests.integration.schedules.programs import Programs, eventually

if TYPE_CHECKING:
    from backroom.store import Store

YEAR = 366 * 86_400_000


def a_job(name: str = "noop", data: object = None, **options: Any) -> NewJob:
    """A job with BullMQ's option names."""
    return new_job(name=name, data=data or {}, options=parse_options(options))


@pytest.mark.parametrize("with_scheduler", [True, False], ids=["scheduler and worker", "worker alone"])
def test_no_job_starts_early(store: Store, programs: Programs, *, with_scheduler: bool) -> None:
    if with_scheduler:
        programs.scheduler()
    programs.worker()
    delays = [1 + 7 * number % 2000 for number in range(300)]
    ids = [job.id for job in store.submission.submit([a_job(delay=delay) for delay in delays])]

    eventually(lambda: store.queues.get("default").counts[State.COMPLETED] == len(ids))

    for job_id, delay in zip(ids, delays, strict=True):
        job = store.inspection.get(job_id)
        assert job.started_at is not None
        assert job.started_at - job.created_at >= timedelta(milliseconds=delay)  # 1.001 * 1000 is less than 1001
        assert job.attempts_made == 1


def test_a_scheduler_alone_makes_jobs_ready_when_they_are_due(store: Store, programs: Programs) -> None:
    programs.scheduler()
    submitted = {job.id: job.at for job in store.submission.submit([a_job(delay=400) for _ in range(50)])}

    eventually(lambda: store.queues.get("default").counts[State.WAITING] == 50)

    for event in store.events.read("0-0", count=1000):
        if event.type == "waiting":
            assert event.at >= submitted[event.job_id] + 400


def test_a_sleeping_scheduler_is_woken_by_what_is_due_earlier(store: Store, programs: Programs) -> None:
    # Left alone it would sleep for an hour.
    programs.scheduler(BACKROOM_SWEEP_SECONDS="3600", BACKROOM_LEASE_SECONDS="3600")
    store.submission.submit([a_job(delay=YEAR)])
    [soon] = store.submission.submit([a_job(delay=300)])
    eventually(lambda: store.inspection.states([soon.id]) == [State.WAITING])

    [late] = store.submission.submit([a_job(delay=YEAR)])
    store.actions.reschedule(late.id, delay_ms=300)
    eventually(lambda: store.inspection.states([late.id]) == [State.WAITING])


def test_a_lost_wake_up_heals(store: Store, programs: Programs) -> None:
    programs.scheduler()
    store.submission.submit([a_job(delay=300)])
    store.redis.delete(store.keys.wake("scheduler"), store.keys.wake())

    eventually(lambda: store.queues.get("default").counts[State.WAITING] == 1)
