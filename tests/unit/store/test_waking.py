"""Who is woken when: an idle worker sleeps on a key, and no work lies about while one sleeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.store.execution import Served
from backroom.store.queues import Rate
from tests.unit.store.hand import LONG, Worker, a_job, eventually, outcome, outlive, submit, submit_many

if TYPE_CHECKING:
    from backroom.store import Store


@pytest.fixture(autouse=True)
def registered(store: Store) -> Worker:
    """A worker that serves one queue by name and has found nothing to do."""
    idle = Worker(store, "named", served=Served(named=["named"]))
    assert idle.claim(1) == []
    return idle


def woken(store: Store, who: str = "") -> bool:
    """Take the wake-up, if there is one."""
    return bool(store.redis.delete(store.keys.wake(who)))


def test_a_submission_wakes_one_worker(store: Store) -> None:
    submit(store)

    assert woken(store)
    assert not woken(store, "named")


def test_a_submission_to_a_queue_served_by_name_wakes_one_of_each(store: Store) -> None:
    submit(store, queue="named")

    assert woken(store)
    assert woken(store, "named")


def test_nobody_is_woken_for_a_queue_that_may_not_start_anything(store: Store, worker: Worker) -> None:
    store.queues.pause("paused")
    store.queues.set_limits("full", concurrency=1)
    submit(store, queue="full")
    worker.claim(1)
    woken(store)

    submit(store, queue="full")
    submit(store, queue="paused")

    assert not woken(store)


def test_resuming_wakes(store: Store) -> None:
    store.queues.pause("default")
    submit(store)

    store.queues.resume("default")

    assert woken(store)


def test_taking_limits_away_wakes(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", rate=Rate(1, LONG))
    submit_many(store, 2)
    worker.claim(2)
    woken(store)

    store.queues.clear_limits("default")

    assert woken(store)


def test_whoever_leaves_work_behind_wakes_the_next(store: Store, worker: Worker) -> None:
    submit_many(store, 3)
    woken(store)

    worker.claim(1)
    assert woken(store)

    worker.claim(9)
    assert not woken(store)


def test_work_left_in_another_queue_wakes_the_next_too(store: Store, worker: Worker) -> None:
    store.submission.submit([a_job(queue="a"), a_job(queue="b")])
    woken(store)

    worker.claim(1)

    assert woken(store)


def test_an_outcome_that_makes_room_wakes(store: Store, worker: Worker) -> None:
    store.queues.set_limits("named", concurrency=1)
    submit_many(store, 2, queue="named")
    claimed = worker.claim_one()
    woken(store)
    woken(store, "named")

    worker.end(claimed)

    assert woken(store)
    assert woken(store, "named")


def test_room_made_in_one_queue_is_announced_while_another_is_claimed_from(store: Store, worker: Worker) -> None:
    store.queues.set_limits("named", concurrency=1)
    submit_many(store, 2, queue="named")
    claimed = worker.claim_one()
    submit(store, queue="other")
    busy = Worker(store, "busy", served=Served(named=["other"]))
    woken(store, "named")

    answer = busy.exchange([outcome(claimed)], room=1)

    assert [job.queue for job in answer.claimed] == ["other"]
    assert woken(store, "named")


@pytest.mark.parametrize("kind", ["release", "retry", "stalled", "retry-after"])
def test_a_job_that_comes_back_wakes(store: Store, worker: Worker, kind: str) -> None:
    submit(store)
    claimed = worker.claim_one()
    woken(store)

    worker.end(claimed, kind)  # type: ignore[arg-type]

    assert woken(store)


def test_a_swept_job_wakes(store: Store, worker: Worker) -> None:
    submit(store)
    worker.claim_one()
    woken(store)
    outlive(store, "active")

    store.upkeep.sweep()

    assert woken(store)


def test_a_promoted_job_wakes(store: Store) -> None:
    submit(store, delay=1)
    woken(store)

    eventually(lambda: store.upkeep.promote()[0])

    assert woken(store)


def test_a_retried_a_promoted_and_a_rescheduled_job_wake(store: Store, worker: Worker) -> None:
    failed = submit(store)
    worker.end(worker.claim_one(), "failed")
    delayed, also = submit(store, delay=LONG), submit(store, delay=LONG)
    woken(store)

    for act in (
        lambda: store.actions.retry(failed),
        lambda: store.actions.promote(delayed),
        lambda: store.actions.reschedule(also, delay_ms=0),
    ):
        act()
        assert woken(store)


def test_an_earlier_due_time_wakes_the_scheduler_and_a_later_one_does_not(store: Store) -> None:
    submit(store, delay=LONG)
    assert woken(store, "scheduler")

    submit(store, delay=2 * LONG)
    assert not woken(store, "scheduler")

    submit(store, delay=LONG // 2)
    assert woken(store, "scheduler")


def test_a_due_time_pulled_forward_wakes_the_scheduler(store: Store) -> None:
    job_id = submit(store, delay=LONG)
    woken(store, "scheduler")

    store.actions.reschedule(job_id, delay_ms=LONG // 2)

    assert woken(store, "scheduler")


def test_an_idle_claim_wakes_nobody(store: Store, worker: Worker) -> None:
    worker.claim(1)

    assert not woken(store)


def test_a_wake_up_sleeps_no_longer_than_the_wait(store: Store) -> None:
    submit(store)

    assert store.redis.bzpopmin(store.keys.wake(), 1) is not None
