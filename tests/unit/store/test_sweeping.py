"""The sweep: lost leases, jobs past their ttl, finished jobs past their time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError

from backroom.model.states import State
from backroom.store.execution import Served
from backroom.store.queues import Rate
from backroom.store.upkeep import Sweeper, Swept
from tests.unit.store.hand import LONG, Worker, a_job, counts, events, eventually, order, outlive, state, submit

if TYPE_CHECKING:
    from backroom.store import Store
    from backroom.store.execution import OutcomeKind


def test_an_ended_lease_puts_the_job_back_with_its_stalls_counted(store: Store, worker: Worker) -> None:
    lost = Worker(store, "lost", lease_ms=1)
    job_id = submit(store)
    lost.claim_one()

    eventually(lambda: store.upkeep.sweep().stalled)

    job = store.inspection.get(job_id)
    assert (job.state, job.stalled, job.attempts_made) == (State.WAITING, 1, 0)
    assert events(store, "stalled") == ["stalled"]
    assert worker.claim_one().stalled == 1


def test_a_healthy_lease_is_left_alone(store: Store, worker: Worker) -> None:
    submit(store)
    worker.claim_one()

    assert store.upkeep.sweep() == Swept()
    assert counts(store) == {"active": 1}


def test_lost_jobs_come_first_and_in_their_old_order(store: Store, worker: Worker) -> None:
    lost = Worker(store, "lost", lease_ms=1)
    for name, priority in [("b", 2), ("a1", 1), ("a2", 1)]:
        submit(store, name, priority=priority)
    lost.claim(3)
    submit(store, "new", lifo=True)
    eventually(lambda: store.upkeep.sweep().stalled)

    assert order(worker.claim(9)) == ["a1", "a2", "b", "new"]


@pytest.mark.parametrize(("most", "sweeps"), [(0, 1), (1, 2), (3, 4)])
def test_a_job_fails_once_it_has_stalled_more_often_than_it_may(store: Store, most: int, sweeps: int) -> None:
    lost = Worker(store, "lost", lease_ms=1)
    job_id = submit(store, maxStalled=most)

    for _ in range(sweeps):
        assert state(store, job_id) is State.WAITING
        lost.claim_one()
        eventually(lambda: store.upkeep.sweep().stalled)

    job = store.inspection.get(job_id)
    assert (job.state, job.stalled) == (State.FAILED, sweeps)
    assert job.error is not None
    assert job.error["message"] == f"job stalled more than {most} times: the lease of lost ended"


def test_a_job_asked_to_stop_whose_worker_died_is_cancelled(store: Store) -> None:
    job_id = submit(store)
    Worker(store, lease_ms=1).claim_one()
    store.actions.cancel(job_id)

    eventually(lambda: store.upkeep.sweep().stalled)

    assert state(store, job_id) is State.CANCELLED


def test_a_job_that_is_not_started_in_time_expires_without_any_worker(store: Store) -> None:
    job_id = submit(store, ttl=5)
    assert state(store, job_id) is State.WAITING

    eventually(lambda: store.upkeep.sweep().expired)

    assert state(store, job_id) is State.EXPIRED
    assert store.inspection.get(job_id).finished_at is not None
    assert events(store) == ["added", "waiting", "expired"]


def test_the_ttl_of_a_delayed_job_begins_when_it_is_due(store: Store) -> None:
    job_id = submit(store, delay=20, ttl=LONG)
    store.upkeep.sweep()
    assert state(store, job_id) is State.DELAYED

    eventually(lambda: store.upkeep.promote()[0])

    expires = float(store.redis.hget(store.keys.job(job_id), "expires") or 0)
    created = store.inspection.get(job_id).created_at.timestamp() * 1000
    assert expires >= created + LONG + 20
    assert store.upkeep.sweep() == Swept()


@pytest.mark.parametrize("kind", ["retry", "retry-after", "stalled"])
def test_a_started_job_does_not_expire_any_more(store: Store, worker: Worker, kind: OutcomeKind) -> None:
    job_id = submit(store, ttl=LONG)

    worker.end(worker.claim_one(), kind)

    assert state(store, job_id) is State.WAITING
    assert store.redis.zscore(store.keys.state("default", "ttl"), job_id) is None
    assert store.redis.hget(store.keys.job(job_id), "expires") is None


def test_every_queue_is_swept_in_bounded_steps(store: Store) -> None:
    lost = Worker(store, "lost", lease_ms=1)
    store.submission.submit([a_job(queue=f"queue-{number}") for number in range(250)])
    while lost.claim(1000):
        pass

    assert eventually(lambda: store.upkeep.sweep().stalled) == 250


def test_a_step_that_has_done_enough_leaves_the_next_turn_to_the_next_queue(store: Store) -> None:
    lost = Worker(store, "lost", lease_ms=1)
    store.submission.submit([a_job(queue="a") for _ in range(30)] + [a_job(queue="b") for _ in range(5)])
    lost.claim(1000)

    def step(place: int) -> list[int]:
        return store.upkeep._run("sweep", place, 100, 20)

    steps = [eventually(lambda: step(0), until=lambda answer: answer[1]), step(1), step(0)]

    assert [tuple(answer) for answer in steps] == [(1, 20, 0, 0, 1), (-1, 5, 0, 0, 0), (-1, 10, 0, 0, 0)]


def test_many_old_jobs_of_one_queue_hold_up_no_lost_job_of_another(store: Store) -> None:
    store.submission.submit([a_job(queue="a", ttl=LONG) for _ in range(1000)])
    job_id = submit(store, queue="b")
    Worker(store, served=Served(named=["b"])).claim_one()
    outlive(store, "ttl", queue="a")
    outlive(store, "active", queue="b")

    steps = list(store.upkeep.steps())

    assert [step.stalled for step in steps].index(1) == 1
    assert sum(steps, Swept()) == Swept(stalled=1, expired=1000)
    assert state(store, job_id) is State.WAITING


def test_a_sweep_may_be_done_a_moment_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backroom.store.upkeep.SWEPT_SECONDS", 0)
    sweeper = Sweeper(store.upkeep)
    store.submission.submit([a_job(ttl=LONG) for _ in range(250)])
    outlive(store, "ttl")

    expired = [sweeper.go_on().expired]
    while sweeper.has_more:
        expired.append(sweeper.go_on().expired)

    assert [number for number in expired if number] == [100, 100, 50]


def test_a_sweep_that_fails_is_begun_anew(store: Store) -> None:
    sweeper, queues = Sweeper(store.upkeep), store.keys.single("queues")
    submit(store, ttl=LONG)
    outlive(store, "ttl")
    store.redis.rename(queues, "aside")
    store.redis.set(queues, "no sorted set")
    with pytest.raises(ResponseError):
        sweeper.go_on()
    assert not sweeper.has_more

    store.redis.rename("aside", queues)

    assert sweeper.go_on() == Swept(expired=1)


def test_a_sweep_finds_more_than_one_step_holds(store: Store) -> None:
    lost = Worker(store, "lost", lease_ms=1)
    store.submission.submit([a_job() for _ in range(700)])
    lost.claim(1000)

    assert eventually(lambda: store.upkeep.sweep().stalled) == 700
    assert counts(store) == {"waiting": 700}


def test_two_sweeps_at_once_count_a_stall_once(store: Store) -> None:
    submit(store, maxStalled=5)
    Worker(store, lease_ms=1).claim_one()

    eventually(lambda: store.upkeep.sweep().stalled)

    assert store.upkeep.sweep().stalled == 0


def test_a_sweep_heals_readiness_and_wakes(store: Store, worker: Worker) -> None:
    submit(store)
    store.redis.delete(store.keys.single("ready"), store.keys.wake())
    assert worker.claim(1) == []

    store.upkeep.sweep()

    assert store.redis.exists(store.keys.wake())
    assert len(worker.claim(1)) == 1


def test_a_sweep_leaves_limited_and_paused_queues_asleep(store: Store) -> None:
    for queue in ("paused", "limited"):
        submit(store, queue=queue)
    store.queues.pause("paused")
    store.queues.set_limits("limited", rate=Rate(1, LONG))
    submit(store, queue="limited")
    Worker(store).claim(9)
    store.redis.delete(store.keys.wake())

    store.upkeep.sweep()

    assert store.redis.zrange(store.keys.single("ready"), 0, -1) == []
    assert not store.redis.exists(store.keys.wake())
