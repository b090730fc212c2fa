"""What becomes of a job when its try has come to an outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from backroom.model.states import State
from backroom.store.execution import Outcome, encode_outcome
from tests.unit.store.hand import (
    LONG,
    Worker,
    counts,
    error_text,
    events,
    order,
    outcome,
    run,
    state,
    submit,
    submit_many,
)

if TYPE_CHECKING:
    from backroom.store import Store


def test_a_completed_job_keeps_its_result_and_times(store: Store, worker: Worker) -> None:
    job_id = submit(store)

    assert worker.end(worker.claim_one(), "completed", result='{"url":"x"}', run=1234)

    job = store.inspection.get(job_id)
    assert (job.state, job.result, job.run_ms, job.attempts_made) == (State.COMPLETED, {"url": "x"}, 1234, 1)
    assert job.error is None
    assert job.finished_at is not None
    assert store.inspection.result(job_id) == (State.COMPLETED, '{"url":"x"}')


def test_the_run_time_is_measured_when_the_worker_does_not_say(store: Store) -> None:
    run_ms = store.inspection.get(run(store)).run_ms

    assert run_ms is not None
    assert 0 <= run_ms < LONG


def test_a_failed_job_keeps_its_error(store: Store, worker: Worker) -> None:
    job_id = submit(store)

    assert worker.end(worker.claim_one(), "failed", error=error_text("no such user"))

    job = store.inspection.get(job_id)
    assert (job.state, job.attempts_made, job.result) == (State.FAILED, 1, None)
    assert job.error is not None
    assert (job.error["type"], job.error["message"], job.error["attempt"]) == ("ValueError", "no such user", 1)
    assert store.inspection.result(job_id) == (State.FAILED, None)


def test_only_the_last_try_exhausts_the_retries(store: Store, worker: Worker) -> None:
    submit(store, attempts=2)
    worker.end(worker.claim_one(), "retry")
    assert events(store, "retries-exhausted") == []

    worker.end(worker.claim_one(), "failed")

    assert events(store, "retries-exhausted", "failed") == ["retries-exhausted", "failed"]


def test_an_unrecoverable_failure_exhausts_nothing(store: Store) -> None:
    run(store, kind="failed", attempts=5)

    assert events(store, "retries-exhausted", "failed") == ["failed"]


def test_a_retry_without_backoff_waits_at_once_behind_its_equals(store: Store, worker: Worker) -> None:
    submit(store, "flaky", attempts=2)
    claimed = worker.claim_one()
    submit(store, "other")

    worker.end(claimed, "retry", error=error_text("try again"))

    assert events(store, "delayed") == []
    assert order(worker.claim(2)) == ["other", "flaky"]


def test_a_retry_keeps_its_priority(store: Store, worker: Worker) -> None:
    submit(store, "urgent", attempts=2)
    claimed = worker.claim_one()
    submit(store, "later", priority=5)

    worker.end(claimed, "retry")

    assert order(worker.claim(2)) == ["urgent", "later"]


def test_a_retry_with_backoff_is_delayed_and_says_why(store: Store, worker: Worker) -> None:
    job_id = submit(store, attempts=2)

    worker.end(worker.claim_one(), "retry", delay=LONG)

    job = store.inspection.get(job_id)
    assert (job.state, job.attempts_made) == (State.DELAYED, 1)
    assert job.state_reason is not None
    assert job.state_reason["code"] == "backoff"
    assert job.run_at is not None
    assert job.error is not None


def test_no_stale_error_is_shown_once_a_retry_has_succeeded(store: Store, worker: Worker) -> None:
    job_id = submit(store, attempts=2)
    worker.end(worker.claim_one(), "retry")
    assert store.inspection.get(job_id).error is not None

    worker.end(worker.claim_one())

    job = store.inspection.get(job_id)
    assert (job.state, job.error, job.attempts_made) == (State.COMPLETED, None, 2)


def test_retry_after_comes_back_later_and_spends_no_attempt(store: Store, worker: Worker) -> None:
    job_id = submit(store)

    worker.end(worker.claim_one(), "retry-after", delay=LONG)

    job = store.inspection.get(job_id)
    assert (job.state, job.attempts_made) == (State.DELAYED, 0)
    assert job.state_reason is not None
    assert job.state_reason["code"] == "retry-after"


def test_retry_after_no_time_waits_at_once(store: Store, worker: Worker) -> None:
    job_id = submit(store)

    worker.end(worker.claim_one(), "retry-after", delay=0)

    assert state(store, job_id) is State.WAITING


def test_a_job_may_come_back_a_hundred_times_in_a_row(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    for _ in range(100):
        worker.end(worker.claim_one(), "retry-after")
    assert state(store, job_id) is State.WAITING

    worker.end(worker.claim_one(), "retry-after")

    job = store.inspection.get(job_id)
    assert (job.state, job.attempts_made) == (State.FAILED, 0)
    assert job.error is not None
    assert job.error["type"] == "TooManyDeferrals"


def test_a_real_try_ends_the_row(store: Store, worker: Worker) -> None:
    job_id = submit(store, attempts=2)
    for _ in range(100):
        worker.end(worker.claim_one(), "retry-after")
    worker.end(worker.claim_one(), "retry")

    worker.end(worker.claim_one(), "retry-after")

    assert state(store, job_id) is State.WAITING


def test_a_rate_limited_job_keeps_its_place_and_holds_the_queue(store: Store, worker: Worker) -> None:
    first, *_ = submit_many(store, 3)
    claimed = worker.claim_one()

    worker.end(claimed, "rate-limited", delay=LONG)

    job = store.inspection.get(first)
    assert (job.state, job.attempts_made) == (State.WAITING, 0)
    assert job.state_reason is not None
    assert job.state_reason["code"] == "rate-limited"
    assert worker.claim(10) == []
    store.queues.clear_limits("default")
    assert worker.claim_one().id == first


def test_several_rate_limited_jobs_keep_their_order(store: Store, worker: Worker) -> None:
    ids = submit_many(store, 3)
    claimed = worker.claim(3)

    worker.exchange([outcome(job, "rate-limited", delay=LONG) for job in claimed])
    store.queues.clear_limits("default")

    assert [job.id for job in worker.claim(3)] == ids


def test_the_longest_of_several_rate_limits_holds(store: Store, worker: Worker) -> None:
    submit_many(store, 2)
    first, second = worker.claim(2)

    worker.end(first, "rate-limited", delay=LONG)
    worker.end(second, "rate-limited", delay=1)

    remaining = store.queues.get("default").limits.limited_for_ms
    assert remaining is not None
    assert remaining > LONG - 60_000


def test_a_dead_process_puts_the_job_back_to_the_very_front(store: Store, worker: Worker) -> None:
    job_id = submit(store, priority=9)
    claimed = worker.claim_one()
    submit(store, lifo=True)

    worker.end(claimed, "stalled", error="its process died")

    job = store.inspection.get(job_id)
    assert (job.state, job.stalled, job.attempts_made) == (State.WAITING, 1, 0)
    assert job.state_reason is not None
    assert job.state_reason["code"] == "stalled"
    again = worker.claim_one()
    assert (again.id, again.stalled) == (job_id, 1)


def test_a_job_that_stalls_too_often_fails_with_the_reason(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    worker.end(worker.claim_one(), "stalled", error="its process died")

    worker.end(worker.claim_one(), "stalled", error="its process died again")

    job = store.inspection.get(job_id)
    assert (job.state, job.stalled, job.attempts_made) == (State.FAILED, 2, 0)
    assert job.error is not None
    assert job.error["message"] == "job stalled more than 1 times: its process died again"


def test_a_job_that_may_not_stall_fails_the_first_time(store: Store, worker: Worker) -> None:
    job_id = submit(store, maxStalled=0, attempts=9)

    worker.end(worker.claim_one(), "stalled", error="its process died")

    assert state(store, job_id) is State.FAILED


def test_a_cancelled_try_ends_cancelled(store: Store, worker: Worker) -> None:
    job_id = submit(store, attempts=9)

    worker.end(worker.claim_one(), "cancelled")

    assert state(store, job_id) is State.CANCELLED
    assert store.inspection.get(job_id).attempts_made == 1


@pytest.mark.parametrize("kind", ["failed", "retry", "retry-after", "rate-limited", "stalled", "release", "cancelled"])
def test_a_job_asked_to_stop_is_cancelled_by_any_outcome_but_success(store: Store, worker: Worker, kind: str) -> None:
    job_id = submit(store, attempts=9, maxStalled=9)
    claimed = worker.claim_one()
    store.actions.cancel(job_id)

    assert worker.end(claimed, kind)  # type: ignore[arg-type]

    assert state(store, job_id) is State.CANCELLED
    assert not worker.end(claimed)
    assert worker.exchange(room=9).claimed == []


def test_a_job_asked_to_stop_that_succeeds_is_completed(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()
    store.actions.cancel(job_id)

    worker.end(claimed)

    assert state(store, job_id) is State.COMPLETED


def test_outcomes_and_claims_share_one_call(store: Store, worker: Worker) -> None:
    submit_many(store, 3)
    first = worker.claim(2)

    answer = worker.exchange([outcome(first[0]), outcome(first[1], "failed")], room=5)

    assert answer.accepted == [True, True]
    assert len(answer.claimed) == 1
    assert counts(store) == {"active": 1, "completed": 1, "failed": 1}


def test_a_job_that_is_to_run_again_may_be_claimed_in_the_same_call(store: Store, worker: Worker) -> None:
    job_id = submit(store, attempts=2)
    claimed = worker.claim_one()

    answer = worker.exchange([outcome(claimed, "retry")], room=1)

    assert [(job.id, job.made) for job in answer.claimed] == [(job_id, 1)]


def test_an_outcome_may_be_encoded_beforehand(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    encoded = encode_outcome(outcome(worker.claim_one()))

    answer = store.execution.exchange(worker="w", token="t", lease_ms=1, outcomes=[msgspec.Raw(encoded)])

    assert answer.accepted == [True]
    assert state(store, job_id) is State.COMPLETED


@pytest.mark.parametrize("kind", ["completed", "failed", "retry", "stalled"])
def test_an_outcome_that_lacks_what_its_kind_needs_is_refused_before_it_is_sent(kind: str) -> None:
    with pytest.raises(ValueError, match=kind):
        Outcome(id="a", token="t", outcome=kind)  # type: ignore[arg-type]
