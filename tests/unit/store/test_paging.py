"""Exact pages: none repeated, none skipped, while others write."""

from __future__ import annotations

import base64
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.errors import InvalidInput
from backroom.model.job import INTERNAL_QUEUE
from backroom.model.states import State
from backroom.store import JobQuery, Store, connect, listing, search
from tests.unit.store.hand import LONG, Worker, a_job, outcome, submit

if TYPE_CHECKING:
    from collections.abc import Iterator


def pages(store: Store, *, limit: int, **query: Any) -> Iterator[list[str]]:
    """The ids of all pages."""
    cursor = None
    while True:
        page = store.listing.page(JobQuery(limit=limit, cursor=cursor, **query))
        assert len(page.jobs) <= limit
        yield [job.id for job in page.jobs]
        cursor = page.next
        if cursor is None:
            return


def listed(store: Store, *, limit: int = 7, **query: Any) -> list[str]:
    """The ids on all pages, in order."""
    return [job_id for page in pages(store, limit=limit, **query) for job_id in page]


def submit_all(store: Store, number: int, **options: Any) -> list[str]:
    """Submit equal jobs in one call. Returns their ids."""
    return [each.id for each in store.submission.submit([a_job(**options) for _ in range(number)])]


@pytest.mark.parametrize("limit", [1, 2, 9, 10, 11, 50])
def test_newest_first_is_the_order_without_a_wish(store: Store, limit: int) -> None:
    ids = [submit(store, queue=queue) for queue in "abcab" for _ in range(2)]

    found = list(pages(store, limit=limit))

    assert [job_id for page in found for job_id in page] == ids[::-1]
    assert all(len(page) == limit for page in found[:-1])
    assert found[-1]


def test_an_empty_store_has_one_empty_page(store: Store) -> None:
    assert list(pages(store, limit=5)) == [[]]


def test_oldest_first_is_the_other_way_round(store: Store) -> None:
    ids = submit_all(store, 30) + submit_all(store, 30, queue="other")

    assert listed(store, sort="createdAt") == ids


def finish_in_order(store: Store, worker: Worker, number: int) -> list[str]:
    """Complete and fail jobs by turns, the newest first. Returns their ids in the order of their ends."""
    submit_all(store, number)
    jobs = worker.claim(number)[::-1]
    worker.exchange([outcome(job, "failed" if at % 2 else "completed") for at, job in enumerate(jobs)])
    return [job.id for job in jobs]


def test_ends_of_several_states_are_one_order(store: Store, worker: Worker) -> None:
    ended = finish_in_order(store, worker, 25)
    states = [State.COMPLETED, State.FAILED]

    assert listed(store, sort="finishedAt", states=states) == ended
    assert listed(store, sort="-finishedAt", states=states) == ended[::-1]
    assert listed(store, sort="finishedAt", states=[State.FAILED]) == ended[1::2]


def test_delayed_jobs_are_listed_by_their_due_time(store: Store) -> None:
    delays = [5, 1, 4, 1, 3, 2]
    ids = [submit(store, delay=LONG * factor, queue="ab"[factor % 2]) for factor in delays]
    due = [ids[place] for place in (1, 3, 5, 4, 2, 0)]

    assert listed(store, sort="runAt", states=[State.DELAYED], limit=2) == due
    assert listed(store, sort="-runAt", states=[State.DELAYED], limit=2) == due[::-1]


def test_waiting_jobs_are_listed_in_the_order_in_which_they_will_run(store: Store, worker: Worker) -> None:
    for priority in (3, 1, 2, 1, 0):
        submit(store, priority=priority)
    submit(store, lifo=True)

    found = listed(store, sort="priority", states=[State.WAITING], limit=2)

    assert listed(store, sort="-priority", states=[State.WAITING], limit=2) == found[::-1]
    assert found == [job.id for job in worker.claim(9)]


@pytest.mark.parametrize(
    ("sort", "states"),
    [
        ("finishedAt", []),
        ("-finishedAt", [State.WAITING]),
        ("runAt", [State.DELAYED, State.WAITING]),
        ("priority", [State.ACTIVE]),
        ("name", []),
        ("", []),
    ],
)
def test_an_order_that_does_not_fit_is_refused(store: Store, sort: str, states: list[State]) -> None:
    with pytest.raises(InvalidInput) as refused:
        store.listing.page(JobQuery(sort=sort, states=states))

    assert refused.value.errors[0].pointer == "/sort"


def encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "é",
        "AAAA",
        encode([]),
        encode(["-createdAt", 1.0, "a"]),
        encode(["createdAt", 1.0, "a", 5]),
        encode(["-createdAt", "1", "a", 5]),
        encode(["-createdAt", 10**400, "a", 5]),
        encode(["-createdAt", float("nan"), "a", 5]),
        encode(["-createdAt", float("inf"), "a", 5]),
        encode(["-createdAt", 1.0, 5, 5]),
        encode(["-createdAt", 1.0, "a", None]),
        encode(["-createdAt", 1.0, "a", True]),
        encode({"a": 1}),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode().rstrip("="),
    ],
)
def test_a_cursor_that_is_none_of_ours_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        store.listing.page(JobQuery(cursor=cursor))

    assert refused.value.errors[0].pointer == "/cursor"


def test_many_jobs_of_one_score_are_paged_through(store: Store) -> None:
    ids = submit_all(store, 900)
    key = store.keys.index("queue", "default")
    store.redis.zadd(key, dict.fromkeys(ids, 5))

    assert listed(store, limit=70) == sorted(ids, reverse=True)
    assert listed(store, limit=70, sort="createdAt") == sorted(ids)


def test_jobs_that_go_away_between_pages_disturb_nobody(store: Store) -> None:
    ids = submit_all(store, 40)[::-1]
    walk = pages(store, limit=10)

    found = next(walk)
    for job_id in ids[5:15]:
        store.actions.remove(job_id)
    rest = [job_id for page in walk for job_id in page]

    assert found == ids[:10]
    assert rest == ids[15:]


def test_without_a_state_filter_pages_are_exact_whatever_changes_state(store: Store, worker: Worker) -> None:
    ids = submit_all(store, 60)[::-1]
    found = []
    for page in pages(store, limit=9):
        found += page
        worker.exchange([outcome(job, "failed") for job in worker.claim(10)])

    assert found == ids


@pytest.mark.parametrize("sort", ["-createdAt", "createdAt"])
def test_no_job_is_repeated_or_skipped_while_others_write(store: Store, redis_url: str, sort: str) -> None:
    old = [job_id for queue in "abc" for job_id in submit_all(store, 100, queue=queue)]
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        client = connect(redis_url, timeout=10)
        other = Store(client, prefix=store.keys.prefix)
        worker = Worker(other, "writer")
        while not stop.is_set():
            written.extend(submit_all(other, 3, queue="b"))
            worker.exchange([outcome(job) for job in worker.claim(5)])
        client.close()

    writer = threading.Thread(target=write)
    writer.start()
    found: list[str] = []
    try:
        for page in pages(store, limit=11, sort=sort):
            found += page
            if set(old) <= set(found):
                stop.set()  # oldest first, the writer would feed the list for ever
    finally:
        stop.set()
        writer.join()

    assert len(found) == len(set(found))
    assert set(old) <= set(found) <= set(old) | set(written)


@pytest.mark.parametrize(("chunk", "most"), [(1, 0), (1, 99), (1, 10_000), (60, 10_000), (1000, 10_000)])
def test_a_state_is_paged_alike_whether_jobs_are_walked_along_or_gathered(
    store: Store, monkeypatch: pytest.MonkeyPatch, chunk: int, most: int
) -> None:
    monkeypatch.setattr(search, "CHUNK", chunk)
    monkeypatch.setattr(search, "MOST_EFFORT", most)
    ids = [job_id for queue in "ab" for job_id in submit_all(store, 50, queue=queue)]
    delayed = submit_all(store, 5, queue="a", delay=LONG)

    assert listed(store, limit=20, states=[State.WAITING]) == ids[::-1]
    assert listed(store, limit=20, states=[State.WAITING, State.DELAYED]) == delayed[::-1] + ids[::-1]


def test_a_page_that_looks_at_much_and_finds_little_ends_early_and_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_EFFORT", 1000)
    needle = submit(store, "needle")
    submit_all(store, 500)

    found = list(pages(store, limit=5, q="needle"))

    assert found[0] == []
    assert [job_id for page in found for job_id in page] == [needle]


def test_internal_jobs_are_left_out_unless_asked_for_by_name(store: Store) -> None:
    internal = submit(store, queue=INTERNAL_QUEUE, data={"userId": "u1"}, tags=["x"])
    public = submit(store, data={"userId": "u1"}, tags=["x"])

    for query in ({}, {"user_ids": ["u1"]}, {"tags": ["x"]}, {"names": ["task"]}, {"states": [State.WAITING]}):
        assert listed(store, **query) == [public]
    assert listed(store, queues=[INTERNAL_QUEUE]) == [internal]
    assert listed(store, queues=[INTERNAL_QUEUE], user_ids=["u1"]) == [internal]
