"""The attempt log: every try with its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.store.hand import Worker, error_text, outlive, run, submit

if TYPE_CHECKING:
    from backroom.store import Store


def log(store: Store, job_id: str) -> list[dict[str, Any]]:
    found = store.inspection.get(job_id, attempts=True).attempt_log
    assert found is not None
    return found


def tries(store: Store, job_id: str) -> list[tuple[int, str]]:
    return [(entry["attempt"], entry["outcome"]) for entry in log(store, job_id)]


def test_it_is_read_only_when_asked_for(store: Store) -> None:
    job_id = run(store)

    assert store.inspection.get(job_id).attempt_log is None
    assert "attemptLog" not in store.inspection.get(job_id).to_dict()
    assert "attemptLog" in store.inspection.get(job_id, attempts=True).to_dict()


def test_it_is_empty_before_the_first_try(store: Store) -> None:
    assert log(store, submit(store)) == []


def test_every_try_is_in_it_with_its_error(store: Store, worker: Worker) -> None:
    job_id = submit(store, attempts=3)
    worker.end(worker.claim_one(), "retry", error=error_text("one"))
    worker.end(worker.claim_one(), "retry", error=error_text("two", attempt=2))
    worker.end(worker.claim_one())

    entries = log(store, job_id)

    assert [(entry["attempt"], entry["outcome"]) for entry in entries] == [
        (1, "failed"),
        (2, "failed"),
        (3, "completed"),
    ]
    assert [entry["error"] and entry["error"]["message"] for entry in entries] == ["one", "two", None]
    assert all(entry["worker"] == "worker-1" for entry in entries)
    assert all(entry["startedAt"] <= entry["finishedAt"] for entry in entries)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("completed", "completed"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
        ("stalled", "stalled"),
        ("retry-after", "retry-after"),
        ("rate-limited", "retry-after"),
    ],
)
def test_each_outcome_has_its_word(store: Store, worker: Worker, kind: str, expected: str) -> None:
    job_id = submit(store)

    worker.end(worker.claim_one(), kind)  # type: ignore[arg-type]

    assert tries(store, job_id) == [(1, expected)]


def test_a_time_out_is_called_one(store: Store, worker: Worker) -> None:
    job_id = submit(store)

    worker.end(worker.claim_one(), "failed", tried="timeout")

    assert tries(store, job_id) == [(1, "timeout")]


def test_a_release_is_no_try(store: Store, worker: Worker) -> None:
    job_id = submit(store)

    worker.end(worker.claim_one(), "release")

    assert tries(store, job_id) == []


def test_a_stall_is_in_it_and_spends_no_attempt(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    worker.claim_one()
    outlive(store, "active")
    store.upkeep.sweep()
    worker.end(worker.claim_one())

    assert tries(store, job_id) == [(1, "stalled"), (1, "completed")]
    assert log(store, job_id)[0]["error"]["message"] == "the lease of worker-1 ended"


def test_a_completed_try_stays_in_it_when_the_job_runs_again(store: Store, worker: Worker) -> None:
    job_id = run(store)
    store.actions.retry(job_id)

    assert tries(store, job_id) == [(1, "completed")]
    worker.end(worker.claim_one(), "failed")
    assert tries(store, job_id) == [(1, "completed"), (2, "failed")]


def test_it_keeps_the_newest_fifty(store: Store, worker: Worker) -> None:
    job_id = submit(store, attempts=100)
    for _ in range(60):
        worker.end(worker.claim_one(), "retry")
    worker.end(worker.claim_one())

    assert tries(store, job_id) == [*[(number, "failed") for number in range(12, 61)], (61, "completed")]
