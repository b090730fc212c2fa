"""After the store was away for longer than a lease, workers that live keep their jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.states import State
from backroom.settings import Settings
from backroom.store import Store, WorkerView
from tests.unit.store.hand import Worker, counts, eventually, state, submit

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of the settings' lease, in ms; nobody reaches the store for longer than half of it only when it is away.
LEASE = 10_000


def nobody_was_heard_for(store: Store, ms: int) -> None:
    """Let the last sign of life be that long ago, as it is when the store comes back."""
    seconds, micros = store.redis.time()
    store.redis.set(store.keys.single("alive"), seconds * 1000 + micros // 1000 - ms)


def sweep(store: Store) -> object:
    return store.upkeep.sweep()


def renew(store: Store) -> object:
    submit(store, queue="other")
    another = Worker(store, "another")
    return another.renew(another.claim_one())


def beat(store: Store) -> None:
    view = WorkerView(
        id="another", host="host", pid=1, queues=None, pool="prefork", slots=1, busy=0, jobs=(), started_at=1
    )
    store.workers.beat(view)


@pytest.mark.parametrize("first", [sweep, renew, beat])
def test_no_lease_ends_right_after_an_outage_whoever_comes_first(
    store: Store, first: Callable[[Store], object]
) -> None:
    job_id = submit(store)
    Worker(store, lease_ms=1).claim_one()
    nobody_was_heard_for(store, LEASE // 2 + 100)

    first(store)

    for _ in range(3):
        assert store.upkeep.sweep().stalled == 0
    assert state(store, job_id) is State.ACTIVE


def test_a_worker_renews_in_that_time_and_settles_as_if_nothing_had_been(store: Store) -> None:
    submit(store)
    worker = Worker(store, lease_ms=1)
    claimed = worker.claim_one()
    nobody_was_heard_for(store, 3 * LEASE)
    store.upkeep.sweep()

    assert Worker(store).renew(claimed) == ["renewed"]

    store.redis.delete(store.keys.single("grace"))  # the time is over
    assert store.upkeep.sweep().stalled == 0
    assert worker.end(claimed)


def test_leases_that_nobody_renews_end_when_that_time_is_over(store: Store) -> None:
    submit(store)
    Worker(store, lease_ms=1).claim_one()
    nobody_was_heard_for(store, 3 * LEASE)
    store.upkeep.sweep()
    assert 0 < store.redis.pttl(store.keys.single("grace")) <= LEASE

    store.redis.delete(store.keys.single("grace"))

    eventually(lambda: store.upkeep.sweep().stalled)
    assert counts(store) == {"waiting": 1}


def test_a_short_silence_is_no_outage(store: Store) -> None:
    patient = Store(store.redis, prefix=store.keys.prefix, settings=Settings(lease_seconds=600))
    submit(patient)
    Worker(patient, lease_ms=1).claim_one()
    nobody_was_heard_for(patient, 300_000 - 60_000)

    eventually(lambda: patient.upkeep.sweep().stalled)
    assert not patient.redis.exists(patient.keys.single("grace"))


def test_a_new_store_has_no_outage_behind_it(store: Store) -> None:
    store.upkeep.sweep()

    assert not store.redis.exists(store.keys.single("grace"))


def test_jobs_expire_and_are_forgotten_all_the_same(store: Store) -> None:
    job_id = submit(store, ttl=1)
    nobody_was_heard_for(store, 3 * LEASE)

    eventually(lambda: store.upkeep.sweep().expired)

    assert state(store, job_id) is State.EXPIRED


def test_a_grace_of_a_clock_that_was_set_back_since_keeps_no_lease(store: Store) -> None:
    job_id = submit(store)
    Worker(store, lease_ms=1).claim_one()
    seconds, _ = store.redis.time()
    store.redis.set(store.keys.single("grace"), (seconds + 3600) * 1000)

    eventually(lambda: store.upkeep.sweep().stalled)

    assert state(store, job_id) is State.WAITING
