"""What people do to single jobs: cancel, retry, remove."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from backroom.model.errors import NotFound, WrongState
from backroom.model.states import State
from tests.unit.store.hand import LONG, Worker, a_job_that_is, counts, events, eventually, order, run, state, submit

if TYPE_CHECKING:
    from collections.abc import Callable

    from backroom.store import Store


@pytest.mark.parametrize("where", ["waiting", "delayed"])
def test_a_job_that_does_not_run_is_cancelled_at_once(store: Store, worker: Worker, where: str) -> None:
    job_id = a_job_that_is(store, where)

    assert store.actions.cancel(job_id)

    job = store.inspection.get(job_id)
    assert (job.state, job.run_at, job.attempts_made) == (State.CANCELLED, None, 0)
    assert job.finished_at is not None
    assert worker.exchange(room=9).next_due is None
    assert events(store)[-1] == "cancelled"


def test_a_running_job_is_marked_and_its_worker_told(store: Store) -> None:
    job_id = a_job_that_is(store, "active")
    with store.redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(store.keys.single("control"))
        eventually(lambda: store.redis.pubsub_numsub(store.keys.single("control"))[0][1])

        assert not store.actions.cancel(job_id)

        message = eventually(lambda: listener.get_message(timeout=1.0))
    assert json.loads(message["data"]) == {"cancel": job_id, "worker": "worker-1"}
    assert state(store, job_id) is State.ACTIVE


@pytest.mark.parametrize("where", ["completed", "failed", "cancelled", "expired"])
def test_a_finished_job_cannot_be_cancelled(store: Store, where: str) -> None:
    job_id = a_job_that_is(store, where)

    with pytest.raises(WrongState) as refused:
        store.actions.cancel(job_id)

    assert (refused.value.state, refused.value.action) == (where, "cancelled")


@pytest.mark.parametrize("act", ["cancel", "retry", "remove", "promote"])
def test_an_unknown_job_is_not_found(store: Store, act: str) -> None:
    with pytest.raises(NotFound, match="no job 'missing'"):
        getattr(store.actions, act)("missing")


@pytest.mark.parametrize("where", ["completed", "failed", "cancelled", "expired"])
def test_a_finished_job_runs_again(store: Store, worker: Worker, where: str) -> None:
    job_id = a_job_that_is(store, where)

    store.actions.retry(job_id)

    job = store.inspection.get(job_id)
    assert (job.state, job.result, job.finished_at, job.run_ms) == (State.WAITING, None, None, None)
    assert worker.end(worker.claim_one())
    assert counts(store) == {"completed": 1}


@pytest.mark.parametrize("where", ["waiting", "delayed", "active"])
def test_an_unfinished_job_cannot_be_retried(store: Store, where: str) -> None:
    job_id = a_job_that_is(store, where)

    with pytest.raises(WrongState, match=f"is {where}: it cannot be retried"):
        store.actions.retry(job_id)


def exhaust(store: Store, tries: int) -> Callable[[str], None]:
    """Fails a job as often as it is tried."""
    worker = Worker(store, "exhausting")

    def go(job_id: str) -> None:
        for _ in range(tries - 1):
            worker.end(worker.claim_one(), "retry")
        worker.end(worker.claim_one(), "failed")
        assert state(store, job_id) is State.FAILED

    return go


def test_a_retry_without_reset_has_one_more_try(store: Store) -> None:
    job_id = submit(store, attempts=3)
    exhaust(store, 3)(job_id)

    store.actions.retry(job_id)

    job = store.inspection.get(job_id)
    assert (job.attempts_made, job.attempts) == (3, 4)


def test_a_retry_without_reset_leaves_unspent_tries(store: Store) -> None:
    job_id = run(store, kind="failed", attempts=5)

    store.actions.retry(job_id)

    job = store.inspection.get(job_id)
    assert (job.attempts_made, job.attempts) == (1, 5)


def test_a_retry_with_reset_has_all_its_tries_again(store: Store) -> None:
    job_id = submit(store, attempts=3)
    exhaust(store, 3)(job_id)
    store.actions.retry(job_id)
    exhaust(store, 1)(job_id)

    store.actions.retry(job_id, reset_attempts=True)

    job = store.inspection.get(job_id)
    assert (job.attempts_made, job.attempts) == (0, 3)


def test_a_retry_with_reset_of_a_job_without_attempts_has_one(store: Store) -> None:
    job_id = run(store, kind="failed")
    store.actions.retry(job_id)
    exhaust(store, 1)(job_id)

    store.actions.retry(job_id, reset_attempts=True)

    job = store.inspection.get(job_id)
    assert (job.attempts_made, job.attempts) == (0, 1)


def test_a_retried_job_keeps_options_and_priority(store: Store, worker: Worker) -> None:
    job_id = run(store, "later", kind="failed", priority=5, tags=["x"], data={"a": 1})
    store.actions.retry(job_id)
    submit(store, "now", priority=4)

    later = worker.claim(2)[1]

    assert (later.name, later.data, later.options) == ("later", '{"a":1}', '{"priority":5,"tags":["x"]}')


def test_a_retried_job_has_its_ttl_anew(store: Store) -> None:
    job_id = run(store, kind="failed", ttl=LONG)
    store.actions.retry(job_id)

    expires = store.redis.zscore(store.keys.state("default", "ttl"), job_id)

    seconds, _ = store.redis.time()
    assert expires is not None
    assert float(expires) >= int(seconds) * 1000 + LONG - 60_000


def test_a_ttl_does_not_come_back_with_a_later_backoff(store: Store, worker: Worker) -> None:
    job_id = submit(store, delay=LONG, ttl=LONG, attempts=3)
    store.actions.cancel(job_id)
    store.actions.retry(job_id)
    worker.end(worker.claim_one(), "retry", delay=1)

    eventually(lambda: store.upkeep.promote()[0])

    assert store.redis.zscore(store.keys.state("default", "ttl"), job_id) is None


def test_a_retried_job_may_stall_anew(store: Store, worker: Worker) -> None:
    job_id = submit(store, maxStalled=0)
    worker.end(worker.claim_one(), "stalled")

    store.actions.retry(job_id)

    assert store.inspection.get(job_id).stalled == 0


def test_the_newest_error_is_shown_until_a_try_succeeds(store: Store, worker: Worker) -> None:
    job_id = run(store, kind="failed")
    store.actions.retry(job_id)
    assert store.inspection.get(job_id).error is not None

    worker.end(worker.claim_one())

    assert store.inspection.get(job_id).error is None


def test_a_retried_job_asked_to_stop_before_is_not_stopped_again(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()
    store.actions.cancel(job_id)
    worker.end(claimed, "cancelled")
    store.actions.retry(job_id)

    assert worker.renew(worker.claim_one()) == ["renewed"]


@pytest.mark.parametrize("where", ["waiting", "delayed", "completed", "failed", "cancelled", "expired"])
def test_a_job_that_does_not_run_can_be_removed(store: Store, worker: Worker, where: str) -> None:
    job_id = a_job_that_is(store, where)

    store.actions.remove(job_id)

    assert state(store, job_id) is None
    assert counts(store) == {}
    assert events(store)[-1] == "removed"
    assert worker.exchange(room=9).claimed == []
    assert not [key for key in store.redis.keys("*") if job_id in key]


def test_a_running_job_cannot_be_removed(store: Store) -> None:
    job_id = a_job_that_is(store, "active")

    with pytest.raises(WrongState, match="is active: it cannot be removed"):
        store.actions.remove(job_id)


def test_removing_the_only_waiting_job_leaves_nothing_ready(store: Store, worker: Worker) -> None:
    store.actions.remove(submit(store))

    assert store.redis.zrange(store.keys.single("ready"), 0, -1) == []
    submit(store, "next")
    assert order(worker.claim(9)) == ["next"]
