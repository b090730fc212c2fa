"""Who may settle a job: the one valid holder, once; and answers that got lost on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.states import State
from tests.unit.store.hand import LONG, Worker, counts, events, outcome, run, state, submit, submit_many

if TYPE_CHECKING:
    from backroom.store import Store
    from backroom.store.execution import OutcomeKind

KINDS: list[OutcomeKind] = [
    "completed",
    "failed",
    "retry",
    "cancelled",
    "stalled",
    "release",
    "retry-after",
    "rate-limited",
]


def lose_lease(store: Store, worker: Worker) -> None:
    """Let the leases of a worker whose leases last 1 ms end."""
    assert worker.lease_ms == 1
    while not store.upkeep.sweep().stalled:
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_an_outcome_under_a_foreign_token_is_refused(store: Store, worker: Worker, kind: OutcomeKind) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()
    forged = outcome(claimed, kind)
    forged.token = "forged"

    assert worker.exchange([forged]).accepted == [False]

    assert state(store, job_id) is State.ACTIVE
    assert worker.end(claimed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_is_settled_once(store: Store, worker: Worker, kind: OutcomeKind) -> None:
    submit(store, attempts=5, maxStalled=5)
    claimed = worker.claim_one()
    worker.end(claimed, kind)
    before = counts(store)

    assert worker.exchange([outcome(claimed, again) for again in KINDS]).accepted == [False] * len(KINDS)

    assert counts(store) == before


def test_the_second_of_two_outcomes_in_one_call_is_refused(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()

    assert worker.exchange([outcome(claimed), outcome(claimed, "failed")]).accepted == [True, False]

    assert state(store, job_id) is State.COMPLETED


def test_an_outcome_of_an_unknown_job_is_refused(store: Store, worker: Worker) -> None:
    claimed = worker.claim_one() if submit(store) else None
    assert claimed is not None
    worker.end(claimed)
    store.actions.remove(claimed.id)

    assert not worker.end(claimed)
    assert store.inspection.states([claimed.id]) == [None]


def test_a_worker_that_wakes_up_late_is_refused_and_the_stored_result_stays(store: Store) -> None:
    frozen, other = Worker(store, "frozen", lease_ms=1), Worker(store, "other")
    job_id = submit(store)
    late = frozen.claim_one()
    lose_lease(store, frozen)
    other.end(other.claim_one(), result='"the other"')

    assert not frozen.end(late, result='"late"')

    assert store.inspection.get(job_id).result == "the other"
    assert store.inspection.get(job_id).attempts_made == 1


def test_a_late_result_is_taken_while_nobody_else_has_the_job(store: Store) -> None:
    slow = Worker(store, lease_ms=1)
    job_id = submit(store)
    claimed = slow.claim_one()

    assert slow.end(claimed)

    assert state(store, job_id) is State.COMPLETED
    assert store.upkeep.sweep().stalled == 0


def test_a_call_whose_answer_was_lost_is_answered_again_and_not_done_twice(store: Store, worker: Worker) -> None:
    submit_many(store, 5)
    [done] = worker.claim(1)
    outcomes = [outcome(done)]
    first = worker.exchange(outcomes, room=2, token="lost")
    seen = events(store)

    again = worker.exchange(outcomes, room=2, token="lost")

    assert again.accepted == first.accepted == [True]
    assert again.claimed == first.claimed
    assert events(store) == seen
    assert counts(store) == {"waiting": 2, "active": 2, "completed": 1}


def test_an_answer_is_kept_for_the_last_call_only(store: Store, worker: Worker) -> None:
    submit_many(store, 2)
    worker.exchange(room=1, token="one")
    worker.exchange(room=1, token="two")

    assert store.execution.recover(worker=worker.name, token="one", lease_ms=LONG) == []
    assert len(store.execution.recover(worker=worker.name, token="two", lease_ms=LONG)) == 1


def test_workers_do_not_get_the_answers_of_others(store: Store, worker: Worker) -> None:
    submit_many(store, 2)
    worker.exchange(room=1, token="same")

    assert store.execution.recover(worker="somebody", token="same", lease_ms=LONG) == []


def test_a_lost_claim_is_handed_out_again_with_its_leases_begun_anew(store: Store) -> None:
    worker = Worker(store, lease_ms=1)
    submit_many(store, 3)
    claimed = worker.exchange(room=3, token="lost").claimed

    recovered = store.execution.recover(worker=worker.name, token="lost", lease_ms=LONG)

    assert recovered == claimed
    assert store.upkeep.sweep().stalled == 0
    assert worker.exchange([outcome(job) for job in recovered]).accepted == [True] * 3


def test_what_was_settled_or_lost_meanwhile_is_not_handed_out_again(store: Store) -> None:
    worker = Worker(store, lease_ms=1)
    submit_many(store, 2)
    done, _ = worker.exchange(room=2, token="lost").claimed
    Worker(store, "another").end(done)
    lose_lease(store, worker)

    assert store.execution.recover(worker=worker.name, token="lost", lease_ms=LONG) == []


def test_a_claim_that_never_took_place_has_nothing_to_recover(store: Store, worker: Worker) -> None:
    run(store)

    assert store.execution.recover(worker=worker.name, token="never", lease_ms=LONG) == []
