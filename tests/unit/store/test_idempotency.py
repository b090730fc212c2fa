"""Idempotency keys: one claim, one execution, one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.store.idempotency import TAKEN_FOR_DEAD_MS, KeptAnswer, KeyClaim, OtherRequest, StillRunning
from tests.unit.store.hand import Worker, a_job, counts, outcome, state

if TYPE_CHECKING:
    from backroom.store import Store


def claim(store: Store, request: str = "a", *, scope: str = "me POST /v1/jobs k") -> object:
    return store.idempotency.claim(scope, request, keep_seconds=100)


def granted(store: Store, request: str = "a", *, scope: str = "me POST /v1/jobs k") -> KeyClaim:
    found = claim(store, request, scope=scope)
    assert isinstance(found, KeyClaim)
    return found


def record_of(store: Store, held: KeyClaim) -> str:
    return store.keys.single(f"idempotency:{held.name}")


def let_die(store: Store, held: KeyClaim) -> None:
    """Make the claim as old as that of a process that died."""
    store.redis.hincrby(record_of(store, held), "since", -TAKEN_FOR_DEAD_MS)


def test_the_first_has_the_key_and_the_next_are_told_to_wait(store: Store) -> None:
    granted(store)

    found = claim(store)

    assert isinstance(found, StillRunning)
    assert 0 < found.left_ms <= TAKEN_FOR_DEAD_MS


def test_another_request_may_not_use_the_key(store: Store) -> None:
    held = granted(store)
    assert claim(store, "b") == OtherRequest()
    store.idempotency.keep(held, KeptAnswer(202, {}, b"{}"))
    assert claim(store, "b") == OtherRequest()


def test_other_scopes_have_keys_of_their_own(store: Store) -> None:
    assert granted(store).name != granted(store, "b", scope="you POST /v1/jobs k").name


@pytest.mark.parametrize("body", [b"", b'{"id": "1"}', b'{"text": "' + "é😀".encode() * 2000 + b'"}'])
def test_an_answer_is_given_again_as_it_was(store: Store, body: bytes) -> None:
    answer = KeptAnswer(202, {"Location": "/v1/jobs/1"}, body)
    held = granted(store)
    store.idempotency.keep(held, answer)

    assert claim(store) == answer


def test_the_first_answer_stays(store: Store) -> None:
    held = granted(store)
    let_die(store, held)
    second = granted(store)
    store.idempotency.keep(second, KeptAnswer(202, {}, b"second"))
    store.idempotency.keep(held, KeptAnswer(202, {}, b"first"))

    found = claim(store)

    assert isinstance(found, KeptAnswer)
    assert found.body == b"second"


def test_a_key_is_kept_for_its_time_from_the_first_claim(store: Store) -> None:
    held = granted(store)
    store.redis.expire(record_of(store, held), 50)
    let_die(store, held)
    granted(store)
    store.idempotency.keep(held, KeptAnswer(200, {}, b"1"))

    assert 40 <= store.redis.ttl(record_of(store, held)) <= 50


def test_a_large_answer_takes_little_room(store: Store) -> None:
    held = granted(store)
    store.idempotency.keep(held, KeptAnswer(202, {}, b'{"id": 1}' * 10_000))

    assert len(store.redis.hget(record_of(store, held), "body")) < 2000


def test_whoever_takes_over_has_the_same_ids(store: Store) -> None:
    held = granted(store)
    let_die(store, held)
    second = granted(store)

    assert [second.new_id(place) for place in range(3)] == [held.new_id(place) for place in range(3)]
    assert len({held.new_id(place) for place in range(1000)}) == 1000
    assert second.token != held.token


def test_a_request_that_was_refused_may_be_sent_again_at_once(store: Store) -> None:
    held = granted(store)
    store.idempotency.free(held, forget=False)
    again = granted(store)
    assert again.new_id() == held.new_id()

    store.idempotency.free(again, forget=True)
    assert granted(store, "b").new_id() != held.new_id()


def test_one_who_was_taken_for_dead_frees_nothing(store: Store) -> None:
    held = granted(store)
    let_die(store, held)
    granted(store)
    store.idempotency.free(held, forget=True)

    assert isinstance(claim(store), StillRunning)


def test_what_was_submitted_under_a_claim_is_submitted_once(store: Store) -> None:
    held = granted(store)
    first = store.submission.submit([a_job(), a_job(delay=60_000)], once=held.name)
    again = store.submission.submit([a_job(), a_job()], once=held.name)

    assert [(each.state, each.duplicate) for each in again] == [(each.state, each.duplicate) for each in first]
    assert counts(store) == {"waiting": 1, "delayed": 1}


def test_not_even_when_the_jobs_have_ended_and_are_gone(store: Store, worker: Worker) -> None:
    held = granted(store)
    job = a_job(removeOnComplete=True)
    store.submission.submit([job], once=held.name)
    worker.exchange([outcome(claimed) for claimed in worker.claim(1)])
    assert state(store, job.id) is None
    store.submission.submit([job], once=held.name)

    assert counts(store) == {}


def test_a_submission_that_met_an_id_in_use_looks_anew_the_next_time(store: Store) -> None:
    held = granted(store)
    store.submission.submit([a_job(jobId="one")])
    assert store.submission.submit([a_job(jobId="one")], once=held.name)[0].duplicate
    store.actions.remove("one")

    assert not store.submission.submit([a_job(jobId="one")], once=held.name)[0].duplicate


def test_a_request_that_has_left_its_mark_is_not_forgotten(store: Store) -> None:
    held = granted(store)
    store.submission.submit([a_job()], once=held.name)
    store.idempotency.free(held, forget=True)

    assert claim(store, "b") == OtherRequest()
    assert granted(store).new_id() == held.new_id()


def test_a_submission_under_a_key_that_is_gone_leaves_nothing_behind(store: Store) -> None:
    held = granted(store)
    store.redis.delete(record_of(store, held))
    store.submission.submit([a_job()], once=held.name)

    assert not store.redis.exists(record_of(store, held))
