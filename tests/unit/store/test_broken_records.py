"""A record that somebody deleted by hand harms nothing but its own job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.store import JobQuery
from tests.unit.store.hand import LONG, Worker, counts, eventually, outlive, run, submit

if TYPE_CHECKING:
    from backroom.store import Store


def break_record(store: Store, job_id: str) -> None:
    assert store.redis.delete(store.keys.job(job_id))


def test_a_waiting_job_without_a_record_is_passed_over(store: Store, worker: Worker) -> None:
    broken, good = submit(store), submit(store)
    break_record(store, broken)

    assert [job.id for job in worker.claim(9)] == [good]
    assert counts(store) == {"active": 1}


def test_a_due_job_without_a_record_holds_nobody_up(store: Store, worker: Worker) -> None:
    broken, good = submit(store, delay=1), submit(store, delay=2)
    break_record(store, broken)

    assert [job.id for job in eventually(lambda: worker.claim(9))] == [good]
    assert counts(store) == {"active": 1}


@pytest.mark.parametrize("kind", ["ttl", "active", "until"])
def test_a_sweep_clears_away_what_has_no_record(store: Store, worker: Worker, kind: str) -> None:
    broken = run(store) if kind == "until" else submit(store, ttl=LONG)
    if kind == "active":
        worker.claim_one()
    break_record(store, broken)
    outlive(store, kind)

    swept = store.upkeep.sweep()

    assert (swept.stalled, swept.expired) == (0, 0)
    assert counts(store) == {}


def test_a_listing_leaves_out_what_has_no_record(store: Store) -> None:
    broken, good = submit(store), submit(store)
    break_record(store, broken)

    assert [job.id for job in store.listing.page(JobQuery()).jobs] == [good]


def test_an_outcome_of_a_job_without_a_record_is_refused(store: Store, worker: Worker) -> None:
    submit(store)
    claimed = worker.claim_one()
    break_record(store, claimed.id)

    assert not worker.end(claimed)
    assert worker.renew(claimed) == ["lost"]
