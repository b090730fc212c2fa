"""Queues as one reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.errors import NotFound
from backroom.model.job import INTERNAL_QUEUE
from backroom.model.states import State
from backroom.store.queues import Rate
from tests.unit.store.hand import LONG, Worker, submit, submit_many

if TYPE_CHECKING:
    from backroom.store import Store


def test_a_queue_exists_once_it_is_named(store: Store) -> None:
    with pytest.raises(NotFound, match="no queue 'jobs'"):
        store.queues.get("jobs")
    submit(store, queue="jobs")
    store.queues.pause("paused")
    store.queues.set_limits("limited", concurrency=1)

    assert store.queues.names() == ["jobs", "limited", "paused"]
    assert [view.name for view in store.queues.list()] == ["jobs", "limited", "paused"]


def test_no_queues_are_an_empty_list(store: Store) -> None:
    assert store.queues.list() == []


def test_a_queue_counts_its_jobs_in_all_eight_states(store: Store, worker: Worker) -> None:
    submit_many(store, 4)
    submit(store, delay=LONG)
    jobs = worker.claim(3)
    worker.end(jobs[0])
    worker.end(jobs[1], "failed")

    view = store.queues.get("default")

    assert view.counts == {
        State.WAITING: 1,
        State.DELAYED: 1,
        State.ACTIVE: 1,
        State.WAITING_CHILDREN: 0,
        State.COMPLETED: 1,
        State.FAILED: 1,
        State.CANCELLED: 0,
        State.EXPIRED: 0,
    }


def test_the_age_of_the_oldest_waiting_job_is_told(store: Store) -> None:
    oldest = submit(store)
    submit(store)
    ready = int(store.redis.hget(store.keys.job(oldest), "ready") or 0)
    store.redis.hset(store.keys.job(oldest), "ready", ready - 60_000)

    age = store.queues.get("default").oldest_waiting_ms

    assert age is not None
    assert 60_000 <= age < 120_000


def test_a_queue_without_waiting_jobs_has_no_oldest(store: Store, worker: Worker) -> None:
    submit(store)
    worker.claim_one()

    assert store.queues.get("default").oldest_waiting_ms is None


def test_rates_are_jobs_a_minute(store: Store, worker: Worker) -> None:
    submit_many(store, 4)
    jobs = worker.claim(3)
    worker.end(jobs[0])
    worker.end(jobs[1], "failed")
    worker.end(jobs[2], "cancelled")

    rates = store.queues.get("default").rates

    unit = rates["completedPerMinute"]
    assert 0 < unit <= 1 / 5
    assert rates["failedPerMinute"] == unit
    assert rates["submittedPerMinute"] == pytest.approx(4 * unit, abs=0.05)
    assert rates["startedPerMinute"] == pytest.approx(3 * unit, abs=0.05)


def test_a_view_speaks_json(store: Store) -> None:
    store.queues.set_limits("q", concurrency=3, rate=Rate(5, 1000), max_length=7)
    store.queues.pause("q")

    view = store.queues.get("q").to_dict()

    assert view["name"] == "q"
    assert view["paused"] is True
    assert view["counts"]["waiting-children"] == 0
    assert view["limits"] == {
        "concurrency": 3,
        "rate": {"max": 5, "duration": 1000, "limitedForMs": None},
        "maxLength": 7,
    }


def test_a_queue_without_limits_says_so(store: Store) -> None:
    submit(store)

    assert store.queues.get("default").to_dict()["limits"] == {"concurrency": None, "rate": None, "maxLength": None}


def test_new_limits_replace_all_old_ones(store: Store) -> None:
    store.queues.set_limits("q", concurrency=3, rate=Rate(5, 1000))
    store.queues.set_limits("q", max_length=9)

    limits = store.queues.get("q").limits

    assert (limits.concurrency, limits.rate, limits.max_length) == (None, None, 9)


def test_the_internal_queue_is_shown_only_when_it_is_asked_for(store: Store) -> None:
    submit(store, queue=INTERNAL_QUEUE)

    assert store.queues.list() == store.queues.names() == []
    assert store.queues.names(internal=True) == [INTERNAL_QUEUE]
    assert store.queues.get(INTERNAL_QUEUE).counts[State.WAITING] == 1
