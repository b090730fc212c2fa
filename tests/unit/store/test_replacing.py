"""Jobs that go on under their id as something else, at once or when others bring it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from backroom.model.states import State
from backroom.store import JobQuery
from tests.unit.store.hand import LONG, Worker, counts, error_text, run, state, submit

if TYPE_CHECKING:
    from backroom.store import Store

NEW = {"name": "after", "data": '{"n":2}', "celery": '{"c":1}'}


def supply(store: Store, job_id: str, *, queue: str = "default", delay_ms: int = 0) -> bool:
    return store.execution.supply(job_id, queue=queue, delay_ms=delay_ms, **NEW)


def test_a_replaced_job_goes_on_at_once_and_no_try_is_counted(store: Store, worker: Worker) -> None:
    job_id = submit(store, "before")

    assert worker.end(worker.claim_one(), "replaced", staged=json.dumps(NEW))

    again = worker.claim_one()
    assert (again.id, again.name, again.data, again.celery, again.made) == (job_id, "after", '{"n":2}', '{"c":1}', 0)


def test_a_job_waits_for_what_others_bring(store: Store, worker: Worker) -> None:
    job_id = submit(store, "before")
    claimed = worker.claim_one()
    assert store.execution.expect(job_id, claimed.token)

    assert worker.end(claimed, "replaced")

    assert state(store, job_id) == State.WAITING_CHILDREN
    assert counts(store) == {"waiting-children": 1}
    assert store.inspection.get(job_id).state_reason == {"code": "dependency"}
    assert supply(store, job_id)
    again = worker.claim_one()
    assert (again.id, again.name, again.data) == (job_id, "after", '{"n":2}')
    assert worker.end(again)
    assert counts(store) == {"completed": 1}


def test_what_is_brought_while_the_job_runs_is_kept_for_it(store: Store, worker: Worker) -> None:
    job_id = submit(store, "before")
    claimed = worker.claim_one()
    store.execution.expect(job_id, claimed.token)

    assert supply(store, job_id)

    assert state(store, job_id) == State.ACTIVE
    assert worker.end(claimed, "replaced")
    assert worker.claim_one().name == "after"


def test_what_is_brought_may_be_for_later_and_for_another_queue(store: Store, worker: Worker) -> None:
    job_id = submit(store, "before")
    claimed = worker.claim_one()
    store.execution.expect(job_id, claimed.token)
    worker.end(claimed, "replaced")

    assert supply(store, job_id, queue="other", delay_ms=LONG)

    assert counts(store, "other") == {"delayed": 1}
    assert counts(store) == {}
    assert [job.id for job in store.listing.page(JobQuery(queues=["other"])).jobs] == [job_id]
    assert store.listing.page(JobQuery(queues=["default"])).jobs == []


@pytest.mark.parametrize("when", ["it runs", "it waits"])
def test_a_job_fails_when_what_it_expects_will_never_come(store: Store, worker: Worker, when: str) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()
    store.execution.expect(job_id, claimed.token)
    if when == "it waits":
        worker.end(claimed, "replaced")

    assert store.execution.forsake(job_id, error_text("its chord failed"))

    if when == "it runs":
        worker.end(claimed, "replaced")
    job = store.inspection.get(job_id)
    assert job.state == State.FAILED
    assert job.error is not None
    assert job.error["message"] == "its chord failed"


def test_a_job_that_waits_for_others_can_be_cancelled_and_removed(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()
    store.execution.expect(job_id, claimed.token)
    worker.end(claimed, "replaced")

    store.actions.cancel(job_id)

    assert state(store, job_id) == State.CANCELLED
    assert not supply(store, job_id)
    store.actions.remove(job_id)
    assert state(store, job_id) is None


def test_a_job_replaced_with_nothing_fails(store: Store, worker: Worker) -> None:
    job_id = submit(store)

    worker.end(worker.claim_one(), "replaced")

    assert state(store, job_id) == State.FAILED


@pytest.mark.parametrize("kind", ["stalled", "retry", "release", "retry-after"])
def test_what_was_expected_ends_with_the_try_that_expected_it(store: Store, worker: Worker, kind: str) -> None:
    job_id = submit(store, attempts=2)
    claimed = worker.claim_one()
    store.execution.expect(job_id, claimed.token)

    worker.end(claimed, kind)  # type: ignore[arg-type]

    assert not supply(store, job_id)
    assert worker.claim_one().name == "task"


def test_only_jobs_that_expect_something_are_supplied(store: Store, worker: Worker) -> None:
    waiting, finished = submit(store), None
    assert not supply(store, waiting)
    finished = run(store)
    assert not supply(store, finished)
    assert not supply(store, "nobody")
    assert not store.execution.forsake(waiting, error_text())
    assert not store.execution.forsake("nobody", error_text())
    claimed = worker.claim_one()
    assert not store.execution.expect(claimed.id, "forged")
