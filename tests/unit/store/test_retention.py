"""What stays of finished jobs, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.errors import NotFound
from backroom.settings import Settings
from backroom.store import Store
from tests.unit.store.hand import Worker, a_job, counts, eventually, outcome, outlive, run, state, submit

if TYPE_CHECKING:
    from collections.abc import Callable

    from backroom.store.execution import OutcomeKind


@pytest.fixture
def store_with(store: Store) -> Callable[..., Store]:
    """The same store under other settings."""

    def make(**settings: Any) -> Store:
        return Store(store.redis, prefix=store.keys.prefix, settings=Settings(**settings))

    return make


def everything(store: Store) -> set[str]:
    """The keys of the store that hold something about single jobs."""
    return {key for key in store.redis.keys(f"{store.keys.prefix}:*") if ":job:" in key or ":by:" in key}


@pytest.mark.parametrize(("kind", "option"), [("completed", "removeOnComplete"), ("failed", "removeOnFail")])
def test_a_job_that_is_to_be_removed_leaves_nothing(
    store: Store, worker: Worker, kind: OutcomeKind, option: str
) -> None:
    submit(store, data={"userId": "u1"}, tags=["a", "b"], **{option: True})

    worker.end(worker.claim_one(), kind, logs=['{"message":"hello"}'])

    assert everything(store) == set()
    assert counts(store) == {}


@pytest.mark.parametrize(("kind", "option"), [("completed", "removeOnFail"), ("failed", "removeOnComplete")])
def test_each_option_is_about_its_own_ending(store: Store, kind: OutcomeKind, option: str) -> None:
    assert state(store, run(store, kind=kind, **{option: True})) == kind


def test_a_count_keeps_the_newest(store: Store) -> None:
    ids = [run(store, removeOnComplete=3) for _ in range(10)]

    assert [job_id for job_id in ids if state(store, job_id)] == ids[-3:]
    assert counts(store) == {"completed": 3}


def test_a_count_of_none_keeps_none(store: Store) -> None:
    run(store, removeOnComplete=0)

    assert everything(store) == set()


def test_failed_and_cancelled_jobs_are_counted_together(store: Store) -> None:
    failed = run(store, kind="failed", removeOnFail=2)
    cancelled = run(store, kind="cancelled", removeOnFail=2)
    completed = run(store)

    newest = run(store, kind="failed", removeOnFail=2)

    assert [state(store, job_id) for job_id in (failed, cancelled, newest)] == [None, "cancelled", "failed"]
    assert state(store, completed) == "completed"


def test_a_count_that_went_down_is_reached_step_by_step(store: Store) -> None:
    for _ in range(10):
        run(store)

    for expected in (8, 6, 4, 2, 2):
        run(store, removeOnComplete=2)
        assert counts(store) == {"completed": expected}


def test_an_age_is_swept_without_any_further_job(store: Store) -> None:
    job_id = run(store, removeOnComplete={"age": 1})
    kept = run(store)
    finished = store.inspection.get(job_id).finished_at

    assert eventually(lambda: store.upkeep.sweep().forgotten) == 1

    seconds, micros = store.redis.time()
    assert finished is not None
    assert int(seconds) * 1000 + int(micros) // 1000 >= round(finished.timestamp() * 1000) + 1000
    with pytest.raises(NotFound):
        store.inspection.get(job_id)
    assert state(store, kept) == "completed"


def test_a_short_age_does_not_put_a_job_before_older_ones_when_they_are_counted(store: Store) -> None:
    older = [run(store) for _ in range(3)]

    newest = run(store, removeOnComplete={"age": 3600, "count": 2})

    assert [job_id for job_id in [*older, newest] if state(store, job_id)] == [older[-1], newest]


def test_what_is_kept_for_ever_is_neither_counted_nor_aged(store: Store, store_with: Callable[..., Store]) -> None:
    kept = [run(store, kind=kind, removeOnComplete=False, removeOnFail=False) for kind in ("completed", "failed")]
    strict = store_with(keep_completed_count=1, keep_failed_count=1)
    for kind in ("completed", "failed"):
        run(strict, kind=kind)
        run(strict, kind=kind)

    outlive(store, "until")

    assert strict.upkeep.sweep().forgotten == 2
    assert [state(store, job_id) for job_id in kept] == ["completed", "failed"]
    assert counts(store) == {"completed": 1, "failed": 1}


def test_the_settings_say_what_is_kept_by_default(store_with: Callable[..., Store]) -> None:
    store = store_with(keep_completed_count=2, keep_failed_count=1)
    for _ in range(4):
        run(store)
        run(store, kind="failed")

    assert counts(store) == {"completed": 2, "failed": 1}


def test_a_job_may_be_kept_longer_than_the_settings_say(store_with: Callable[..., Store]) -> None:
    store = store_with(keep_completed_seconds=0)

    gone = run(store)
    kept = run(store, removeOnComplete={"age": 60})

    assert [state(store, gone), state(store, kept)] == [None, "completed"]


def test_one_half_of_a_wish_leaves_the_other_to_the_settings(store_with: Callable[..., Store]) -> None:
    store = store_with(keep_completed_seconds=60)
    job_id = run(store, removeOnComplete=50)

    until = store.redis.zscore(store.keys.state("default", "until"), job_id)

    finished = store.inspection.get(job_id).finished_at
    assert finished is not None
    assert until == round(finished.timestamp() * 1000) + 60_000


def test_cancelled_and_expired_jobs_follow_the_option_for_failures(store: Store) -> None:
    cancelled, expired = submit(store, removeOnFail=True), submit(store, ttl=1, removeOnFail=True)
    store.actions.cancel(cancelled)
    eventually(lambda: store.upkeep.sweep().expired)

    assert store.inspection.states([cancelled, expired]) == [None, None]
    assert everything(store) == set()


def test_a_job_that_runs_again_is_not_forgotten_meanwhile(store: Store, worker: Worker) -> None:
    job_id = run(store, kind="failed")
    store.actions.retry(job_id)
    outlive(store, "until")

    assert store.upkeep.sweep().forgotten == 0
    assert state(store, job_id) == "waiting"


def test_removing_a_finished_job_leaves_nothing(store: Store) -> None:
    job_id = run(store, data={"userId": "u1"}, tags=["a"])

    store.actions.remove(job_id)

    assert everything(store) == set()
    left = store.redis.keys(f"{store.keys.prefix}:*")
    assert not [key for key in left if ":old:" in key or key.endswith(":until")]


def test_a_sweep_forgets_more_than_one_step_holds(store: Store, worker: Worker) -> None:
    store.submission.submit([a_job(tags=["x"]) for _ in range(700)])
    worker.exchange([outcome(job) for job in worker.claim(1000)])
    outlive(store, "until")

    assert store.upkeep.sweep().forgotten == 700
    assert everything(store) == set()
