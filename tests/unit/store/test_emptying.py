"""Taking jobs out of queues: drain, clean, obliterate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from backroom.model.errors import NotFound, QueueBusy
from backroom.model.states import State
from backroom.store.queues import Rate
from tests.unit.store.hand import (
    LONG,
    Worker,
    a_job,
    a_job_that_is,
    counts,
    events,
    eventually,
    outcome,
    run,
    state,
    submit,
    submit_many,
)

if TYPE_CHECKING:
    from backroom.store import Store


def one_of_each(store: Store) -> dict[str, str]:
    """A job in each state that this issue knows: state -> id."""
    states = ("completed", "failed", "cancelled", "expired", "active", "delayed", "waiting")
    return {where: a_job_that_is(store, where) for where in states}


def age(store: Store, job_id: str, ms: int) -> None:
    """Make a job older."""
    job = store.inspection.get(job_id)
    created = round(job.created_at.timestamp() * 1000) - ms
    store.redis.hset(store.keys.job(job_id), "created", created)
    if job.finished_at:
        key = store.keys.state(job.queue, job.state)
        store.redis.zincrby(key, -ms * 1000, job_id)


def test_a_drain_removes_what_waits_and_nothing_else(store: Store) -> None:
    jobs = one_of_each(store)

    assert store.emptying.drain("default") == 1

    assert state(store, jobs.pop("waiting")) is None
    assert all(state(store, job_id) == where for where, job_id in jobs.items())
    assert events(store)[-2:] == ["removed", "drained"]


def test_a_drain_removes_what_is_delayed_when_it_is_asked_to(store: Store) -> None:
    one_of_each(store)

    assert store.emptying.drain("default", delayed=True) == 2

    assert counts(store) == {"active": 1, "completed": 1, "failed": 1, "cancelled": 1, "expired": 1}


def test_a_drain_of_many_jobs_goes_in_steps_and_says_drained_once(store: Store) -> None:
    store.submission.submit([a_job() for _ in range(700)])

    assert store.emptying.drain("default") == 700

    assert counts(store) == {}
    assert events(store, "drained") == ["drained"]


def test_a_drain_leaves_other_queues_alone(store: Store) -> None:
    other = submit(store, queue="other")
    submit(store)

    store.emptying.drain("default")

    assert state(store, other) is State.WAITING


def test_a_drain_of_a_broken_queue_ends(store: Store) -> None:
    store.redis.delete(store.keys.job(submit(store)))
    submit(store)

    assert store.emptying.drain("default") == 2
    assert counts(store) == {}


@pytest.mark.parametrize("where", ["completed", "failed", "cancelled", "expired", "delayed", "waiting"])
def test_a_clean_removes_old_jobs_of_one_state_and_says_which(store: Store, where: str) -> None:
    jobs = one_of_each(store)
    young = run(store, kind=where) if where in {"completed", "failed", "cancelled"} else None  # type: ignore[arg-type]
    age(store, jobs[where], 60_000)

    assert store.emptying.clean("default", state=State(where), grace_ms=50_000, limit=100) == [jobs[where]]

    assert state(store, jobs.pop(where)) is None
    assert all(state(store, job_id) == other for other, job_id in jobs.items())
    assert young is None or state(store, young) == where
    assert "cleaned" in events(store)


def test_a_clean_with_nothing_old_enough_removes_nothing(store: Store) -> None:
    one_of_each(store)

    assert store.emptying.clean("default", state=State.FAILED, grace_ms=LONG, limit=100) == []
    assert events(store, "cleaned") == []


def test_a_clean_stops_at_its_limit(store: Store) -> None:
    ids = [run(store, kind="failed") for _ in range(5)]

    assert store.emptying.clean("default", state=State.FAILED, grace_ms=0, limit=3) == ids[:3]
    assert counts(store) == {"failed": 2}


def test_a_clean_goes_in_steps(store: Store, worker: Worker) -> None:
    store.submission.submit([a_job() for _ in range(900)])
    worker.exchange([outcome(job) for job in worker.claim(450)])

    removed = store.emptying.clean("default", state=State.WAITING, grace_ms=0, limit=10_000)
    finished = store.emptying.clean("default", state=State.COMPLETED, grace_ms=0, limit=10_000)

    assert (len(set(removed)), len(set(finished))) == (450, 450)
    assert counts(store) == {}


def test_a_clean_finds_the_old_among_the_young(store: Store) -> None:
    ids = submit_many(store, 30)
    for job_id in ids[::3]:
        age(store, job_id, LONG)

    assert store.emptying.clean("default", state=State.WAITING, grace_ms=LONG // 2, limit=100) == ids[::3]


def test_running_jobs_cannot_be_cleaned(store: Store) -> None:
    with pytest.raises(ValueError, match="active"):
        store.emptying.clean("default", state=State.ACTIVE, grace_ms=0, limit=1)


def test_a_queue_with_running_jobs_is_not_obliterated(store: Store) -> None:
    jobs = one_of_each(store)

    with pytest.raises(QueueBusy, match="1 jobs of the queue 'default' are running"):
        store.emptying.obliterate("default")

    assert all(state(store, job_id) == where for where, job_id in jobs.items())
    assert not store.queues.get("default").paused


def test_an_unknown_queue_cannot_be_obliterated(store: Store) -> None:
    with pytest.raises(NotFound):
        store.emptying.obliterate("missing")


def test_an_obliterated_queue_leaves_nothing_but_what_happened(store: Store, worker: Worker) -> None:
    store.queues.set_limits("default", rate=Rate(1000, LONG), max_length=10_000)
    store.submission.submit([a_job(tags=["x"], data={"userId": "u"}) for _ in range(700)])
    worker.exchange(
        [outcome(job, "failed" if number % 2 else "completed") for number, job in enumerate(worker.claim(600))]
    )
    submit(store, delay=LONG, ttl=LONG)
    submit(store, ttl=LONG)

    assert store.emptying.obliterate("default") == 702

    left = {key.removeprefix(store.keys.prefix + ":") for key in store.redis.keys(store.keys.prefix + ":*")}
    assert left <= {
        "events",
        "metrics",
        "served",
        "wake",
        "wake:scheduler",
        "claim:worker-1",
    }
    assert worker.exchange(room=9).next_due is None


def test_force_removes_running_jobs_and_tells_their_workers(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()
    with store.redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(store.keys.single("control"))
        eventually(lambda: store.redis.pubsub_numsub(store.keys.single("control"))[0][1])

        assert store.emptying.obliterate("default", force=True) == 1

        message = eventually(lambda: listener.get_message(timeout=1.0))
    assert json.loads(message["data"]) == {"cancel": job_id, "worker": "worker-1"}
    assert not worker.end(claimed)
    assert worker.renew(claimed) == ["lost"]


def test_an_obliterated_queue_may_be_used_again(store: Store, worker: Worker) -> None:
    store.queues.pause("default")
    submit(store)
    store.emptying.obliterate("default")

    job_id = submit(store)

    assert [job.id for job in worker.claim(9)] == [job_id]
