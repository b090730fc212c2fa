"""The numbers that the scripts keep."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import backroom.store
from backroom.store.metrics import DELIVERY_BUCKETS, RUN_BUCKETS, WAIT_BUCKETS
from tests.unit.store.hand import LONG, Worker, a_job, outcome, outlive, submit, submit_many

if TYPE_CHECKING:
    from backroom.store import Store

KIND = ("default", "task")


def test_the_buckets_are_the_same_in_lua_and_in_python() -> None:
    folder = Path(backroom.store.__file__).parent / "scripts/shared"
    source = "".join((folder / f"{piece}.lua").read_text() for piece in ("metrics", "deliveries"))
    lua = dict(re.findall(r"local (\w+)_BUCKETS = \{([^}]*)\}", source))

    for name, buckets in [("WAIT", WAIT_BUCKETS), ("RUN", RUN_BUCKETS), ("DELIVERY", DELIVERY_BUCKETS)]:
        assert tuple(int(bound) / 1000 for bound in lua[name].split(",")) == buckets


def test_a_new_store_has_no_numbers(store: Store) -> None:
    numbers = store.metrics.read()

    assert numbers.queues == numbers.workers == []
    assert numbers.submitted == numbers.started == numbers.finished == numbers.retries == numbers.stalls == {}
    assert numbers.wait == numbers.run == numbers.scheduler_ticks == {}
    told = numbers.webhooks
    assert told.attempts == told.deliveries == told.endpoints == {}
    assert (told.pending, told.outbox, told.outbox_oldest, sum(told.delay.counts)) == (0, 0, 0, 0)


def test_submissions_and_starts_are_counted_by_queue_and_name(store: Store, worker: Worker) -> None:
    store.submission.submit([a_job("a"), a_job("a"), a_job("b", queue="other", delay=LONG)])
    worker.claim(9)

    numbers = store.metrics.read()

    assert numbers.submitted == {("default", "a"): 2, ("other", "b"): 1}
    assert numbers.started == {("default", "a"): 2}


def test_duplicates_are_not_counted(store: Store) -> None:
    submit(store, jobId="same")
    submit(store, jobId="same")

    assert store.metrics.read().submitted == {KIND: 1}


def test_ends_are_counted_by_outcome(store: Store, worker: Worker) -> None:
    submit_many(store, 3)
    for job, kind in zip(worker.claim(3), ("completed", "failed", "cancelled"), strict=True):
        worker.end(job, kind)  # type: ignore[arg-type]
    submit(store, ttl=LONG)
    outlive(store, "ttl")
    store.upkeep.sweep()
    store.actions.cancel(submit(store))

    assert store.metrics.read().finished == {
        (*KIND, "completed"): 1,
        (*KIND, "failed"): 1,
        (*KIND, "cancelled"): 2,
        (*KIND, "expired"): 1,
    }


def test_jobs_that_are_not_kept_are_counted_all_the_same(store: Store, worker: Worker) -> None:
    submit(store, removeOnComplete=True)
    worker.end(worker.claim_one())

    assert store.metrics.read().finished == {(*KIND, "completed"): 1}


def test_retries_and_stalls_are_counted(store: Store, worker: Worker) -> None:
    submit(store, attempts=5, maxStalled=5)
    for kind in ("retry", "retry", "stalled", "retry-after"):
        worker.end(worker.claim_one(), kind)  # type: ignore[arg-type]

    numbers = store.metrics.read()

    assert (numbers.retries, numbers.stalls) == ({KIND: 2}, {KIND: 1})


@pytest.mark.parametrize(
    ("run_ms", "place"), [(0, 0), (5, 0), (6, 1), (1000, 7), (1001, 8), (3_600_000, 15), (3_600_001, 16)]
)
def test_a_run_time_falls_into_its_bucket(store: Store, worker: Worker, run_ms: int, place: int) -> None:
    submit(store)
    worker.end(worker.claim_one(), run=run_ms)

    run = store.metrics.read().run[KIND]

    assert run.buckets == RUN_BUCKETS
    assert [number for number, count in enumerate(run.counts) if count] == [place]
    assert run.sum == run_ms / 1000


def test_every_start_is_a_wait_and_every_counted_try_a_run(store: Store, worker: Worker) -> None:
    submit_many(store, 4, attempts=2)
    jobs = worker.claim(4)
    worker.exchange(
        [outcome(jobs[0]), outcome(jobs[1], "retry"), outcome(jobs[2], "failed"), outcome(jobs[3], "release")]
    )

    numbers = store.metrics.read()

    assert sum(numbers.wait[KIND].counts) == numbers.started[KIND] == 4
    assert sum(numbers.run[KIND].counts) == 3


def test_a_job_given_back_unstarted_is_counted_as_started_once(store: Store, worker: Worker) -> None:
    submit(store)
    for _ in range(3):
        worker.end(worker.claim_one(), "release")
    worker.end(worker.claim_one(), "retry")
    worker.end(worker.claim_one())

    numbers = store.metrics.read()

    assert sum(numbers.wait[KIND].counts) == numbers.started[KIND] == 2


def test_a_job_that_runs_again_after_its_end_is_counted_again(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    worker.end(worker.claim_one(), "release")
    store.actions.cancel(job_id)
    store.actions.retry(job_id)
    worker.claim_one()

    assert store.metrics.read().started == {KIND: 2}


def test_a_wait_counts_from_readiness(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    ready = int(store.redis.hget(store.keys.job(job_id), "ready") or 0)
    store.redis.hset(store.keys.job(job_id), "ready", ready - 70_000)
    worker.claim_one()

    wait = store.metrics.read().wait[KIND]

    assert wait.counts[WAIT_BUCKETS.index(120)] == 1
    assert wait.sum >= 70


def test_counters_outlive_the_jobs(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    worker.end(worker.claim_one())
    store.actions.remove(job_id)

    numbers = store.metrics.read()

    assert numbers.submitted == numbers.started == {KIND: 1}


def test_schedulers_tick_and_retire(store: Store) -> None:
    store.workers.tick("beat-1")
    store.workers.tick("beat-2")
    store.workers.retire_scheduler("beat-2")

    ticks = store.metrics.read().scheduler_ticks

    seconds, _ = store.redis.time()
    assert list(ticks) == ["beat-1"]
    assert abs(ticks["beat-1"] - int(seconds)) <= 60


def test_a_scheduler_that_has_been_silent_for_a_day_is_forgotten(store: Store) -> None:
    store.redis.zadd(store.keys.single("schedulers"), {"old": 1000})

    store.workers.tick("new")

    assert list(store.workers.scheduler_ticks()) == ["new"]
