"""What holds a queue back: pausing, concurrency and rate, all of them over all workers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.errors import InvalidInput
from backroom.model.states import State
from backroom.store.queues import Rate
from tests.unit.store.hand import (
    LONG,
    Worker,
    a_job,
    counts,
    events,
    eventually,
    order,
    outcome,
    outlive,
    state,
    submit,
    submit_many,
)

if TYPE_CHECKING:
    from backroom.store import Store


def reason(store: Store, job_id: str) -> str | None:
    found = store.inspection.get(job_id).state_reason
    return found and found["code"]


def test_a_paused_queue_starts_nothing_and_takes_everything(store: Store, worker: Worker) -> None:
    running = submit(store)
    claimed = worker.claim_one()

    assert store.queues.pause("default")

    waiting = submit(store)
    assert worker.claim(9) == []
    assert reason(store, waiting) == "paused"
    assert worker.end(claimed)
    assert state(store, running) is State.COMPLETED


def test_a_resumed_queue_goes_on_in_its_order(store: Store, worker: Worker) -> None:
    store.queues.pause("default")
    for name, priority in [("d", 3), ("b1", 1), ("c", 2), ("b2", 1), ("a", 0)]:
        submit(store, name, priority=priority)

    assert store.queues.resume("default")

    assert order(worker.claim(9)) == ["a", "b1", "b2", "c", "d"]


def test_pausing_twice_changes_nothing_the_second_time(store: Store) -> None:
    assert [store.queues.pause("q"), store.queues.pause("q")] == [True, False]
    assert [store.queues.resume("q"), store.queues.resume("q")] == [True, False]
    assert events(store) == ["paused", "resumed"]


def test_a_queue_can_be_paused_before_its_first_job(store: Store, worker: Worker) -> None:
    store.queues.pause("later")

    submit(store, queue="later")

    assert worker.claim(9) == []
    assert store.queues.get("later").paused


@pytest.mark.parametrize("name", ["", "a b", "a:b", "..", "x" * 129])
def test_queues_of_odd_names_are_not_touched(store: Store, name: str) -> None:
    for act in (store.queues.pause, store.queues.resume, store.queues.set_limits):
        with pytest.raises(InvalidInput):
            act(name)
    assert store.queues.names() == []


def test_concurrency_holds_over_all_workers(store: Store) -> None:
    store.queues.set_limits("default", concurrency=2)
    workers = [Worker(store, f"worker-{number}") for number in range(4)]
    submit_many(store, 6)

    claimed = [job for worker in workers for job in worker.claim(5)]

    assert len(claimed) == 2
    assert counts(store) == {"waiting": 4, "active": 2}


def test_a_finished_job_makes_room_for_the_next_in_order(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", concurrency=1)
    ids = submit_many(store, 4)

    done = []
    [job] = worker.claim(9)
    while job:
        done.append(job.id)
        answer = worker.exchange([outcome(job)], room=9)
        assert len(answer.claimed) <= 1
        job = answer.claimed[0] if answer.claimed else None

    assert done == ids


@pytest.mark.parametrize("kind", ["failed", "retry", "stalled", "release", "cancelled", "retry-after"])
def test_every_outcome_makes_room(store: Store, worker: Worker, kind: str) -> None:
    store.queues.set_limits("default", concurrency=1)
    submit_many(store, 2)
    first = worker.claim_one()

    worker.end(first, kind, delay=LONG if kind == "retry-after" else None)  # type: ignore[arg-type]

    assert len(worker.claim(9)) == 1


def test_a_lost_lease_makes_room_and_never_doubles(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", concurrency=1)
    first, _ = submit_many(store, 2)
    worker.claim_one()
    assert worker.claim(9) == []
    outlive(store, "active")
    assert worker.claim(9) == []

    store.upkeep.sweep()

    assert [job.id for job in worker.claim(9)] == [first]


def test_a_job_held_back_by_concurrency_says_so(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", concurrency=1)
    _, second = submit_many(store, 2)
    worker.claim_one()

    found = store.inspection.get(second).state_reason

    assert found == {"code": "concurrency", "detail": "1 of at most 1 jobs are running"}


def test_raising_the_concurrency_works_at_once(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", concurrency=1)
    submit_many(store, 5)
    worker.claim(9)

    store.queues.set_limits("default", concurrency=3)

    assert len(worker.claim(9)) == 2


def test_lowering_the_concurrency_lets_running_jobs_go_on(store: Store, worker: Worker) -> None:
    submit_many(store, 5)
    claimed = worker.claim(3)

    store.queues.set_limits("default", concurrency=1)

    assert worker.claim(9) == []
    assert worker.exchange([outcome(job) for job in claimed], room=9).claimed[1:] == []


def test_a_rate_counts_starts_over_all_workers(store: Store) -> None:
    store.queues.set_limits("default", rate=Rate(3, LONG))
    submit_many(store, 9)

    claimed = Worker(store, "one").claim(2) + Worker(store, "two").claim(9)

    assert len(claimed) == 3
    assert Worker(store, "three").claim(9) == []


def test_a_finished_job_does_not_open_the_rate_window(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", rate=Rate(1, LONG))
    submit_many(store, 2)

    assert worker.end(worker.claim_one())

    assert worker.claim(9) == []


def test_never_more_starts_than_the_rate_allows_in_any_window(store: Store) -> None:
    window_ms, most = 60, 2
    store.queues.set_limits("default", rate=Rate(most, window_ms))
    submit_many(store, 7)
    workers = [Worker(store, "one"), Worker(store, "two")]
    claimed: list[str] = []
    while len(claimed) < 7:
        claimed += [job.id for worker in workers for job in worker.claim(9)]

    starts = sorted(int(store.redis.hget(store.keys.job(job_id), "started") or 0) for job_id in claimed)

    firsts = starts[::most]
    assert all(later - earlier >= window_ms for earlier, later in itertools.pairwise(firsts))


def test_a_limited_job_stays_waiting_and_says_until_when(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", rate=Rate(1, LONG))
    _, held = submit_many(store, 2)
    worker.claim_one()

    view = store.queues.get("default")

    assert counts(store) == {"waiting": 1, "active": 1}
    assert reason(store, held) == "rate-limited"
    assert view.limits.rate == Rate(1, LONG)
    assert view.limits.limited_for_ms is not None
    assert 0 < view.limits.limited_for_ms <= LONG + 1  # rounded up


def test_a_claim_says_when_the_window_ends(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", rate=Rate(1, LONG))
    submit_many(store, 2)
    worker.claim_one()

    due = worker.exchange(room=1).next_due

    assert due is not None
    assert 0 < due <= LONG + 1  # rounded up


def test_a_window_that_ends_is_opened_by_a_promotion_too(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", rate=Rate(1, 20))
    submit_many(store, 2)
    worker.claim_one()
    store.redis.delete(store.keys.wake())

    eventually(lambda: store.upkeep.promote() and store.redis.exists(store.keys.wake()))

    assert len(worker.claim(9)) == 1


def test_taking_the_limits_away_ends_a_tripped_rate(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", rate=Rate(1, LONG))
    submit_many(store, 3)
    worker.claim(9)

    store.queues.clear_limits("default")

    assert len(worker.claim(9)) == 2
    assert store.queues.get("default").limits.rate is None


def test_a_manual_limit_can_be_taken_away(store: Store, worker: Worker) -> None:
    submit(store)
    worker.end(worker.claim_one(), "rate-limited", delay=LONG)
    assert store.queues.get("default").limits.limited_for_ms

    store.queues.clear_limits("default")

    assert len(worker.claim(9)) == 1


def test_a_window_of_a_clock_that_was_set_back_since_holds_up_nothing(store: Store, worker: Worker) -> None:
    """As does one that was longer when it began."""
    store.queues.set_limits("default", rate=Rate(1, LONG))
    submit_many(store, 2)
    worker.claim(9)
    store.redis.hincrby(store.keys.queue("default"), "windowEnd", 2 * LONG)

    assert store.queues.get("default").limits.limited_for_ms is None
    store.upkeep.sweep()
    assert len(worker.claim(9)) == 1


def test_other_queues_go_on_while_one_is_limited(store: Store, worker: Worker) -> None:
    store.queues.set_limits("limited", rate=Rate(1, LONG))
    store.submission.submit([a_job(queue=queue) for queue in ("limited", "limited", "free", "free")])

    assert sorted(job.queue for job in worker.claim(9)) == ["free", "free", "limited"]


def test_jobs_that_expire_unstarted_do_not_count_as_starts(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", rate=Rate(1, LONG))
    late = submit(store, ttl=LONG)
    good = submit(store)
    store.redis.hset(store.keys.job(late), "expires", 1)

    assert [job.id for job in worker.claim(9)] == [good]


@pytest.mark.parametrize(
    ("limits", "pointer"),
    [
        ({"concurrency": 0}, "/concurrency"),
        ({"concurrency": 1_000_001}, "/concurrency"),
        ({"rate": Rate(0, 1000)}, "/rate/max"),
        ({"rate": Rate(1, 0)}, "/rate/duration"),
        ({"rate": Rate(1, 7 * 86_400_000 + 1)}, "/rate/duration"),
        ({"max_length": 0}, "/maxLength"),
    ],
)
def test_limits_out_of_range_are_refused_and_change_nothing(store: Store, limits: dict[str, Any], pointer: str) -> None:
    store.queues.set_limits("q", concurrency=5)

    with pytest.raises(InvalidInput) as refused:
        store.queues.set_limits("q", **limits)

    assert refused.value.errors[0].pointer == pointer
    assert store.queues.get("q").limits.concurrency == 5
