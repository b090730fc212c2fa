"""Leases: how long a claim holds, and giving back what was not begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.states import State
from backroom.store.execution import Held
from backroom.store.queues import Rate
from tests.unit.store.hand import LONG, Worker, counts, eventually, order, outlive, state, submit, submit_many

if TYPE_CHECKING:
    from backroom.store import Store


def test_a_renewed_lease_does_not_end(store: Store) -> None:
    short, long = Worker(store, lease_ms=1), Worker(store)
    job_id = submit(store)
    claimed = short.claim_one()

    assert long.renew(claimed) == ["renewed"]

    assert store.upkeep.sweep().stalled == 0
    assert state(store, job_id) is State.ACTIVE


def test_a_lease_can_be_cut_short_too(store: Store, worker: Worker) -> None:
    submit(store)
    claimed = worker.claim_one()

    Worker(store, lease_ms=1).renew(claimed)

    eventually(lambda: store.upkeep.sweep().stalled)


def test_renewing_says_which_jobs_are_lost(store: Store, worker: Worker) -> None:
    submit_many(store, 3)
    settled, kept, stolen = worker.claim(3)
    worker.end(settled)
    foreign = Held(stolen.id, "another token", stolen.queue)
    unknown = Held("unknown", "token", "default")

    held = [Held(settled.id, settled.token, settled.queue), Held(kept.id, kept.token, kept.queue), foreign, unknown]

    assert store.execution.renew(held, lease_ms=LONG) == ["lost", "renewed", "lost", "lost"]


def test_renewing_says_which_jobs_are_to_stop(store: Store, worker: Worker) -> None:
    submit_many(store, 2)
    first, second = worker.claim(2)
    store.actions.cancel(second.id)

    assert worker.renew(first, second) == ["renewed", "cancel"]


def test_renewing_nothing_is_no_call(store: Store) -> None:
    assert store.execution.renew([], lease_ms=LONG) == []


def test_renewing_too_many_at_once_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="at most 1000"):
        store.execution.renew([Held("a", "t", "q")] * 1001, lease_ms=LONG)


def test_renewing_does_not_bring_a_lost_lease_back(store: Store) -> None:
    short = Worker(store, lease_ms=1)
    job_id = submit(store)
    claimed = short.claim_one()
    eventually(lambda: store.upkeep.sweep().stalled)

    assert short.renew(claimed) == ["lost"]
    assert state(store, job_id) is State.WAITING


def test_released_jobs_go_back_to_their_exact_places(store: Store, worker: Worker) -> None:
    for name, priority in [("b", 2), ("a1", 1), ("a2", 1), ("c", 3)]:
        submit(store, name, priority=priority)
    claimed = worker.claim(3)
    submit(store, "a3", priority=1)

    for job in reversed(claimed):
        assert worker.end(job, "release")

    assert order(worker.claim(9)) == ["a1", "a2", "a3", "b", "c"]


def test_a_released_job_looks_as_if_it_had_never_been_claimed(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    worker.end(worker.claim_one(), "release")

    job = store.inspection.get(job_id, attempts=True)

    assert (job.state, job.attempts_made, job.stalled, job.started_at) == (State.WAITING, 0, 0, None)
    assert job.attempt_log == []
    assert worker.claim_one().made == 0


def test_a_released_job_can_still_expire(store: Store, worker: Worker) -> None:
    job_id = submit(store, ttl=LONG)
    worker.end(worker.claim_one(), "release")
    outlive(store, "ttl")

    assert store.upkeep.sweep().expired == 1

    assert state(store, job_id) is State.EXPIRED


def test_a_released_job_that_was_stalled_stays_in_front(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    worker.end(worker.claim_one(), "stalled")
    submit(store)
    worker.end(worker.claim_one(), "release")

    assert worker.claim_one().id == job_id


def test_a_released_job_does_not_count_in_its_rate_window(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", rate=Rate(2, LONG))
    submit_many(store, 5)
    kept, released = worker.claim(5)

    worker.end(released, "release")

    assert len(worker.claim(5)) == 1
    worker.end(kept)
    assert worker.claim(5) == []


def test_a_release_does_not_open_a_later_window_than_the_one_it_was_claimed_in(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", rate=Rate(1, 40))
    submit_many(store, 3)
    early = worker.claim_one()
    eventually(lambda: worker.claim(1))

    answer = worker.exchange(room=1)
    started = store.redis.hmget(store.keys.queue("default"), "windowEnd", "windowCount")
    worker.end(early, "release")

    if not answer.claimed:  # else the machine was so slow that the window was over: nothing to see
        assert store.redis.hmget(store.keys.queue("default"), "windowEnd", "windowCount") == started


def test_releasing_everything_leaves_the_queue_as_it_was(store: Store, worker: Worker) -> None:
    ids = submit_many(store, 20)

    for job in worker.claim(20):
        worker.end(job, "release")

    assert counts(store) == {"waiting": 20}
    assert [job.id for job in worker.claim(20)] == ids
