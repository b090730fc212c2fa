"""Delays: never early, in order, and whoever looks promotes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from backroom.model.errors import InvalidInput, NotFound, WrongState
from backroom.model.states import State
from backroom.store import Rate
from tests.unit.store.hand import LONG, Worker, a_job, counts, events, eventually, order, state, submit, submit_many

if TYPE_CHECKING:
    from backroom.store import Store
    from backroom.store.execution import OutcomeKind

SHARED_MS = "2099-12-31T23:59:59.999Z"
SHARED = 4_102_444_799_999


def pull_forward(store: Store, queue: str = "default", *, by_ms: int) -> None:
    """Bring every due time of a queue nearer, as if that time had gone by."""
    delayed = store.keys.state(queue, "delayed")
    scores = store.redis.zrange(delayed, 0, -1, withscores=True)
    store.redis.zadd(delayed, {job_id: score - by_ms * 2048 for job_id, score in scores})
    store.redis.zadd(store.keys.single("due"), {queue: (scores[0][1] - by_ms * 2048) // 2048})


def micros(store: Store) -> int:
    """The store's time in µs since 1970."""
    seconds, micros = store.redis.time()
    return int(seconds) * 1_000_000 + int(micros)


def server_ms(store: Store) -> int:
    return micros(store) // 1000


def test_a_delayed_job_is_not_started_early(store: Store, worker: Worker) -> None:
    before = server_ms(store)
    submit(store, delay=40)

    [claimed] = eventually(lambda: worker.claim(1))

    assert server_ms(store) >= before + 40
    assert store.inspection.get(claimed.id).run_at is None


def check_that_none_is_early(store: Store, worker: Worker, due: dict[str, int]) -> None:
    """Claim all of these jobs as soon as may be; none before its due time (µs)."""
    while due:
        claimed = worker.claim(5)
        now = micros(store)
        assert [due[job.id] - now for job in claimed if due[job.id] > now] == []
        for job in claimed:
            del due[job.id]


def test_of_thousands_of_delayed_jobs_none_starts_a_microsecond_early(store: Store, worker: Worker) -> None:
    delays = {submit(store, delay=delay): delay for delay in [500 + 7 * number % 1000 for number in range(3000)]}
    stored = store.redis.zrange(store.keys.index("queue", "default"), 0, -1, withscores=True)  # when, to the µs

    check_that_none_is_early(store, worker, {job_id: int(at) + delays[job_id] * 1000 for job_id, at in stored})


def test_what_is_rescheduled_does_not_start_a_microsecond_early(store: Store, worker: Worker) -> None:
    due = {}
    for number, job_id in enumerate(submit_many(store, 500, delay=LONG)):
        delay = 100 + number % 40
        due[job_id] = micros(store) + delay * 1000
        store.actions.reschedule(job_id, delay_ms=delay)

    check_that_none_is_early(store, worker, due)


@pytest.mark.parametrize("kind", ["retry", "retry-after"])
def test_another_try_does_not_start_a_microsecond_early(store: Store, worker: Worker, kind: OutcomeKind) -> None:
    submit_many(store, 500, attempts=2)
    due = {}
    for number, job in enumerate(worker.claim(500)):
        delay = 100 + number % 40
        due[job.id] = micros(store) + delay * 1000
        assert worker.end(job, kind, delay=delay)

    check_that_none_is_early(store, worker, due)


@pytest.mark.parametrize("kind", ["rate-limited", "completed"])
def test_no_limited_queue_goes_on_a_microsecond_early(store: Store, worker: Worker, kind: OutcomeKind) -> None:
    """Whether a job has asked for the pause, or the queue has a rate."""
    window = 5
    if kind == "completed":
        store.queues.set_limits("default", rate=Rate(1, window))
    submit_many(store, 100)
    opens = 0
    for _ in range(100):
        before = micros(store)
        claimed = worker.claim()
        while not claimed:  # without a pause, so as to see it if it were early
            before = micros(store)
            claimed = worker.claim()
        [job] = claimed
        assert micros(store) >= opens
        if kind == "rate-limited":
            before = micros(store)
        opens = before + window * 1000
        assert worker.end(job, kind, delay=window)


def test_a_claim_promotes_what_is_due_without_anybody_else(store: Store, worker: Worker) -> None:
    submit(store, delay=5)

    assert eventually(lambda: worker.claim(1))
    assert events(store) == ["added", "delayed", "waiting", "active"]


def test_a_promotion_says_when_the_next_job_is_due(store: Store) -> None:
    submit(store, delay=5)
    submit(store, delay=LONG)

    moved, due = eventually(store.upkeep.promote, until=lambda step: step[0])

    assert moved == 1
    assert due is not None
    assert 0 < due <= LONG + 1  # rounded up


def test_nothing_delayed_has_no_due_time(store: Store) -> None:
    submit(store)

    assert store.upkeep.promote() == (0, None)


def test_a_far_delay_does_not_hold_back_a_near_one(store: Store, worker: Worker) -> None:
    submit(store, "in-a-year", delay=366 * 86_400_000)
    submit(store, "soon", delay=5)

    assert order(eventually(lambda: worker.claim(9))) == ["soon"]


def test_waiting_time_counts_from_the_due_time(store: Store, worker: Worker) -> None:
    job_id = submit(store, delay=20)
    eventually(lambda: worker.claim(1))

    job = store.inspection.get(job_id)

    assert job.wait_ms is not None
    assert job.started_at is not None
    assert job.wait_ms < (job.started_at - job.created_at).total_seconds() * 1000 - 19


def test_jobs_due_in_the_same_ms_run_in_the_order_they_came(store: Store, worker: Worker) -> None:
    store.submission.submit([a_job(f"a{number}", runAt=SHARED_MS, jobId=f"{999 - number}") for number in range(500)])
    for number in range(20):
        submit(store, f"b{number}", runAt=SHARED_MS)
    pull_forward(store, by_ms=SHARED - server_ms(store))

    claimed = order(worker.claim(200)) + order(worker.claim(1000)) + order(worker.claim(1000))

    assert claimed == [f"a{number}" for number in range(500)] + [f"b{number}" for number in range(20)]


def test_more_jobs_due_in_the_same_ms_than_it_has_places_keep_their_order_too(store: Store, worker: Worker) -> None:
    for first in range(0, 5000, 1000):
        store.submission.submit([a_job(str(n), runAt=SHARED_MS) for n in range(first, first + 1000)])
    pull_forward(store, by_ms=SHARED - server_ms(store) + 10)
    while store.upkeep.promote()[1] == 0:
        pass

    claimed = [name for _ in range(5) for name in order(worker.claim(1000))]

    assert claimed == [str(number) for number in range(5000)]


def test_priorities_and_lifo_hold_among_promoted_jobs(store: Store, worker: Worker) -> None:
    for name, options in [("b", {"priority": 2}), ("a", {"priority": 1}), ("c", {}), ("d", {"lifo": True})]:
        submit(store, name, runAt=SHARED_MS, **options)
    pull_forward(store, by_ms=SHARED - server_ms(store))

    assert order(worker.claim(9)) == ["d", "c", "a", "b"]


def test_a_step_of_promotion_is_bounded_and_says_that_there_is_more(store: Store) -> None:
    store.submission.submit([a_job(runAt=SHARED_MS) for _ in range(300)])
    pull_forward(store, by_ms=SHARED - server_ms(store))

    assert store.upkeep.promote() == (200, 0)
    assert store.upkeep.promote() == (100, None)
    assert counts(store) == {"waiting": 300}


def test_due_jobs_of_many_queues_are_promoted(store: Store) -> None:
    names = [f"queue-{number}" for number in range(20)]
    store.submission.submit([a_job(queue=name, delay=1) for name in names])
    moved = 0
    while moved < len(names):
        moved += store.upkeep.promote()[0]

    assert all(counts(store, name) == {"waiting": 1} for name in names)


def test_a_paused_queue_still_promotes(store: Store, worker: Worker) -> None:
    store.queues.pause("default")
    submit(store, delay=1)

    eventually(lambda: store.upkeep.promote()[0])

    assert counts(store) == {"waiting": 1}
    assert worker.claim(1) == []


def test_a_delayed_job_can_be_made_to_wait_at_once(store: Store, worker: Worker) -> None:
    job_id = submit(store, delay=LONG)

    store.actions.promote(job_id)

    assert worker.claim_one().id == job_id
    assert store.upkeep.promote() == (0, None)


def test_a_delayed_job_can_be_given_another_due_time(store: Store) -> None:
    job_id = submit(store, delay=LONG)

    store.actions.reschedule(job_id, delay_ms=2 * LONG)

    run_at = store.inspection.get(job_id).run_at
    assert run_at is not None
    assert run_at.timestamp() > time.time() + 1.9 * LONG / 1000
    _, due = store.upkeep.promote()
    assert due is not None
    assert due > LONG


def test_a_due_time_can_be_given_as_a_point_in_time(store: Store) -> None:
    job_id = submit(store, delay=LONG)

    store.actions.reschedule(job_id, run_at_ms=SHARED)

    assert store.inspection.get(job_id).to_dict()["runAt"] == SHARED_MS


def test_a_due_time_in_the_past_makes_the_job_wait(store: Store) -> None:
    job_id = submit(store, delay=LONG)

    store.actions.reschedule(job_id, run_at_ms=1)

    assert state(store, job_id) is State.WAITING
    assert store.inspection.get(job_id).run_at is None


@pytest.mark.parametrize("times", [{}, {"run_at_ms": 1, "delay_ms": 1}])
def test_one_way_to_say_when_is_needed(store: Store, times: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not both"):
        store.actions.reschedule("any", **times)


def test_a_due_time_that_the_store_cannot_keep_is_refused(store: Store) -> None:
    job_id = submit(store, delay=LONG)

    with pytest.raises(InvalidInput) as refused:
        store.actions.reschedule(job_id, run_at_ms=SHARED + 1)

    assert refused.value.errors[0].pointer == "/runAt"


def test_only_delayed_jobs_can_be_promoted_or_rescheduled(store: Store, worker: Worker) -> None:
    job_id = submit(store)

    with pytest.raises(WrongState, match="waiting"):
        store.actions.promote(job_id)
    worker.claim_one()
    with pytest.raises(WrongState, match="active"):
        store.actions.reschedule(job_id, delay_ms=1)
    with pytest.raises(NotFound):
        store.actions.promote("missing")
