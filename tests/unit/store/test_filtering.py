"""Filters of lists: OR inside a field, AND over the fields."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.states import State
from backroom.store import JobQuery
from tests.unit.store.hand import LONG, Worker, error_text, submit

if TYPE_CHECKING:
    from backroom.store import Store


@pytest.fixture
def jobs(store: Store, worker: Worker) -> dict[str, str]:
    """Jobs of several kinds: what they are called here -> id."""
    found = {
        "resize": submit(store, "resize", queue="images", data={"userId": "ann"}, tags=["big", "urgent"]),
        "crop": submit(store, "crop", queue="images", data={"userId": "bob"}, tags=["big"]),
        "mail": submit(store, "mail", queue="post", data={"userId": "ann"}, tags=["urgent"], priority=5),
        "later": submit(store, "mail", queue="post", data={"userId": "eve"}, delay=LONG),
        "plain": submit(store, "plain", data=[1, 2, 3]),
    }
    claimed = next(job for job in worker.claim(9) if job.id == found["crop"])
    worker.end(claimed, "failed", error=error_text("No space left on device", kind="OSError"))
    return found


def listed(store: Store, **query: Any) -> set[str]:
    return {job.id for job in store.listing.page(JobQuery(**query)).jobs}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {"resize", "crop", "mail", "later", "plain"}),
        ({"queues": ["images"]}, {"resize", "crop"}),
        ({"queues": ["images", "default", "images"]}, {"resize", "crop", "plain"}),
        ({"queues": ["missing"]}, set()),
        ({"names": ["mail"]}, {"mail", "later"}),
        ({"names": ["mail", "crop"]}, {"mail", "later", "crop"}),
        ({"tags": ["big"]}, {"resize", "crop"}),
        ({"tags": ["big", "urgent"]}, {"resize", "crop", "mail"}),
        ({"user_ids": ["ann"]}, {"resize", "mail"}),
        ({"user_ids": ["ann", "eve"]}, {"resize", "mail", "later"}),
        ({"user_ids": ["ann"], "queues": ["post"]}, {"mail"}),
        ({"tags": ["urgent"], "names": ["resize"]}, {"resize"}),
        ({"states": [State.DELAYED]}, {"later"}),
        ({"states": [State.DELAYED, State.FAILED]}, {"later", "crop"}),
        ({"states": [State.FAILED], "user_ids": ["bob"]}, {"crop"}),
        ({"states": [State.FAILED], "user_ids": ["ann"]}, set()),
        ({"states": [State.FAILED], "sort": "-finishedAt", "tags": ["big"]}, {"crop"}),
        ({"q": "mail"}, {"mail", "later"}),
        ({"q": "URGENT"}, {"resize", "mail"}),
        ({"q": "space DEVICE"}, {"crop"}),
        ({"q": "oserror big"}, {"crop"}),
        ({"q": "urgent resize"}, {"resize"}),
        ({"q": "nothing like that"}, set()),
        ({"q": "mail", "states": [State.DELAYED]}, {"later"}),
    ],
)
def test_filters(store: Store, jobs: dict[str, str], query: dict[str, Any], expected: set[str]) -> None:
    assert listed(store, **query) == {jobs[name] for name in expected}


def test_a_search_finds_an_id(store: Store, jobs: dict[str, str]) -> None:
    assert listed(store, q=jobs["plain"]) == {jobs["plain"]}


def test_bounds_on_the_creation_are_inclusive_below_and_exclusive_above(store: Store, jobs: dict[str, str]) -> None:
    created = store.inspection.get(jobs["mail"]).created_at
    ms = timedelta(milliseconds=1)

    assert jobs["mail"] in listed(store, from_=created, to=created + ms)
    assert jobs["mail"] not in listed(store, to=created)
    assert jobs["mail"] not in listed(store, from_=created + ms)
    assert jobs["mail"] in listed(store, from_=created, states=[State.ACTIVE, State.WAITING])
    assert jobs["mail"] not in listed(store, to=created, states=[State.ACTIVE, State.WAITING])


def test_a_job_exactly_on_a_bound_is_not_lost_to_rounding(store: Store) -> None:
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number) for number in range(50)]
    for moment in moments:
        job_id = submit(store)
        ms = round(moment.timestamp() * 1000)
        store.redis.hset(store.keys.job(job_id), "created", ms)
        store.redis.zadd(store.keys.index("queue", "default"), {job_id: ms * 1000})
        assert listed(store, from_=moment, to=moment + timedelta(milliseconds=1)) == {job_id}


def test_a_listed_job_is_the_whole_job(store: Store, jobs: dict[str, str]) -> None:
    [listed_job] = store.listing.page(JobQuery(names=["crop"])).jobs

    assert listed_job == store.inspection.get(jobs["crop"])


def test_a_listed_job_says_why_it_waits(store: Store, jobs: dict[str, str], worker: Worker) -> None:
    store.queues.pause("images")
    waiting = submit(store, queue="images")

    [job] = store.listing.page(JobQuery(queues=["images"], states=[State.WAITING])).jobs

    assert job.id == waiting
    assert job.state_reason == {"code": "paused", "detail": "the queue is paused"}
