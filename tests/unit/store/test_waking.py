"""Who is woken when: an idle worker sleeps on a key, and no work lies about while one sleeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import msgpack

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


@pytest.fixture
def picky(store: Store) -> Worker:
    """A worker that serves every queue but two, and has found nothing to do."""
    idle = Worker(store, "picky", served=Served(without={"left": True, "alone": True}))
    assert idle.claim(1) == []
    return idle


def kind_of(worker: Worker) -> str:
    assert worker.served is not None
    [who] = worker.served.sleeps_on
    return who


def test_a_worker_that_leaves_some_queues_alone_is_not_woken_for_those(store: Store, picky: Worker) -> None:
    submit(store, queue="left")

    assert woken(store)
    assert not woken(store, kind_of(picky))

    submit(store, queue="other")

    assert woken(store)
    assert woken(store, kind_of(picky))


def test_those_that_leave_the_same_queues_alone_are_woken_one_at_a_time(store: Store, picky: Worker) -> None:
    same = Served(without={"alone": True, "left": True})
    other = Worker(store, "another", served=Served(without={"else": True}))
    assert other.claim(1) == []

    assert same.sleeps_on == [kind_of(picky)] != [kind_of(other)]
    submit(store, queue="left")
    assert woken(store, kind_of(other))
    assert not woken(store, kind_of(picky))


def test_one_that_leaves_work_behind_wakes_the_next_of_its_kind(store: Store, picky: Worker) -> None:
    store.submission.submit([a_job(queue="a"), a_job(queue="b")])
    woken(store, kind_of(picky))

    assert len(picky.claim(1)) == 1

    assert woken(store, kind_of(picky))


def test_kinds_of_workers_that_are_gone_for_long_are_forgotten(store: Store, picky: Worker) -> None:
    key = store.keys.single("picky")
    kind = kind_of(picky).removeprefix("*")
    store.redis.hset(key, "old", msgpack.encode([0, {"left": True}]))

    assert picky.claim(1) == []

    assert store.redis.hkeys(key) == [kind]
    assert 0 < store.redis.ttl(key) <= 3600


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
