"""Tasks of Celery's that end without their own code's doing are noted for a worker; other jobs are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.job import NewJob
from backroom.model.names import new_id
from backroom.model.options import parse_options
from tests.unit.store.hand import LONG, Worker, outlive, submit

if TYPE_CHECKING:
    from backroom.store import Store


def submit_task(store: Store, **options: object) -> str:
    """A job as Celery publishes it."""
    job = NewJob(
        id=new_id(), name="task", queue="default", data="{}", options=parse_options(options), celery='{"form":"kwargs"}'
    )
    [submitted] = store.submission.submit([job])
    return submitted.id


def test_a_cancelled_task_is_noted_once(store: Store) -> None:
    job_id = submit_task(store)
    store.actions.cancel(job_id)

    assert store.consequences.take() == [job_id]
    assert store.consequences.take() == []  # it was handed out, and may be again in a minute
    store.redis.zadd(store.keys.single("consequences"), {job_id: 1})
    assert store.consequences.take() == [job_id]
    store.consequences.done([job_id])
    store.redis.zadd(store.keys.single("consequences"), {job_id: 1}, xx=True)
    assert store.consequences.take() == []


def test_an_expired_task_is_noted(store: Store) -> None:
    job_id = submit_task(store, ttl=LONG)
    outlive(store, "ttl")
    store.upkeep.sweep()

    assert store.consequences.take() == [job_id]


def test_a_task_lost_too_often_is_noted(store: Store, worker: Worker) -> None:
    job_id = submit_task(store, maxStalled=0)

    worker.end(worker.claim_one(), "stalled")

    assert store.consequences.take() == [job_id]


def test_a_cancelled_running_task_is_noted_as_told_by_its_worker(store: Store, worker: Worker) -> None:
    job_id = submit_task(store)

    worker.end(worker.claim_one(), "cancelled")

    assert store.consequences.take() == [job_id]
    record = store.inspection.record(job_id)
    assert record is not None
    assert record["told"] == "1"


@pytest.mark.parametrize("kind", ["completed", "failed"])
def test_ends_that_the_task_knew_of_are_not_noted(store: Store, worker: Worker, kind: str) -> None:
    submit_task(store)

    worker.end(worker.claim_one(), kind)  # type: ignore[arg-type]

    assert store.consequences.take() == []


def test_jobs_that_did_not_come_through_celery_are_not_noted(store: Store) -> None:
    store.actions.cancel(submit(store))

    assert store.consequences.take() == []
