"""Every order with every filter while others submit, run, retry, move, change and remove jobs."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.errors import BackroomError
from backroom.model.states import FINISHED, State
from backroom.store import JobQuery, Store, connect, search
from backroom.store.execution import Served
from backroom.store.query import SORTS
from tests.unit.store.hand import LONG, Worker, a_job, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backroom.model.job import Job

STATES = {
    "createdAt": (),
    "finishedAt": tuple(sorted(FINISHED)),
    "runAt": (State.DELAYED,),
    "priority": (State.WAITING,),
}
FILTERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "queues": {"queues": ["calm", "busy"]},
    "name": {"names": ["rare"]},
    "tags": {"tags": ["odd", "third"]},
    "user": {"user_ids": ["u1"]},
    "words": {"q": "RARE"},
    "time": {},
    "all": {"queues": ["calm"], "names": ["rare", "task"], "tags": ["third"], "user_ids": ["u0", "u1"], "q": "third"},
}


def mixed(number: int, queue: str, **options: Any) -> list[Any]:
    """Jobs of several names, users, tags and priorities."""
    return [
        a_job(
            "rare" if at % 7 == 0 else "task",
            queue=queue,
            data={"userId": f"u{at % 3}"},
            tags=["odd"] * (at % 2) + ["third"] * (at % 3 == 0) + ["all"],
            priority=at % 4,
            **options,
        )
        for at in range(number)
    ]


def fill(store: Store, queue: str) -> None:
    """Jobs in each state that lists have an order for."""
    worker = Worker(store, f"fills-{queue}", served=Served([queue]))
    ids = [each.id for each in store.submission.submit(mixed(60, queue))]
    claimed = sorted(worker.claim(60), key=lambda job: ids.index(job.id))
    worker.exchange([outcome(job, "failed" if at % 2 else "completed") for at, job in enumerate(claimed)])
    store.submission.submit(mixed(60, queue, delay=LONG))
    store.submission.submit(mixed(60, queue))


def write(store: Store, busy: list[str]) -> None:
    """One round of everything that moves jobs of the busy queue."""
    worker = Worker(store, f"writer-{threading.get_ident()}", served=Served(["busy"]))
    new = [each.id for each in store.submission.submit([*mixed(2, "busy"), *mixed(2, "busy", delay=LONG)])]
    claimed = worker.claim(4)
    worker.exchange([outcome(job, "failed") for job in claimed])
    for job in claimed:
        with suppress(BackroomError):
            store.actions.retry(job.id)
    for at, job_id in enumerate(busy[:8]):
        with suppress(BackroomError):
            store.actions.reschedule(job_id, delay_ms=LONG + 1000 * at)
        with suppress(BackroomError):
            known = store.inspection.get(job_id)
            store.actions.update(job_id, known.version, priority=(known.priority + 1) % 5)
    busy.append(busy.pop(0))
    with suppress(BackroomError):
        store.actions.remove(new[0])


@contextmanager
def writers(redis_url: str, prefix: str, busy: list[str]) -> Iterator[None]:
    """Two threads that write all the time."""
    stop = threading.Event()

    def work(mine: list[str]) -> None:
        client = connect(redis_url, timeout=10)
        other = Store(client, prefix=prefix)
        while not stop.is_set():
            write(other, mine)
        client.close()

    threads = [threading.Thread(target=work, args=(busy[half::2],)) for half in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def walk(store: Store, enough: set[str], **query: Any) -> list[str]:
    """The ids of all pages; in an order that writers feed at its end, until it holds what is ``enough``."""
    found: list[str] = []
    cursor = None
    while True:
        page = store.listing.page(JobQuery(cursor=cursor, limit=9, **query))
        found += [job.id for job in page.jobs]
        cursor = page.next
        if cursor is None or (query["sort"] == "createdAt" and enough.issubset(found)):
            return found


@pytest.mark.parametrize("chunk", [5, 1000], ids=["walking", "gathering"])
@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("sort", SORTS)
def test_no_job_is_repeated_and_none_that_stays_is_skipped(
    store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch, sort: str, kind: str, chunk: int
) -> None:
    monkeypatch.setattr(search, "CHUNK", chunk)
    fill(store, "calm")
    fill(store, "busy")
    by = sort.removeprefix("-")
    query = {"sort": sort, "states": STATES[by], **FILTERS[kind]}
    calm = store.listing.page(JobQuery(queues=["calm"], sort="createdAt", limit=1000)).jobs
    if kind == "time":
        query |= {"from_": calm[10].created_at, "to": calm[150].created_at + timedelta(1)}
    quiet = walk(store, set(), **query)
    expected = [job_id for job_id in quiet if job_id in {job.id for job in calm}]
    busy = [job.id for job in store.listing.page(JobQuery(queues=["busy"], limit=1000)).jobs]

    with writers(redis_url, store.keys.prefix, busy):
        found = walk(store, set(expected), **query)

    assert expected
    assert len(found) == len(set(found))
    assert [job_id for job_id in found if job_id in set(expected)] == expected
    assert expected == sorted_by_hand([job for job in calm if job.id in set(expected)], sort)


def sorted_by_hand(jobs: list[Job], sort: str) -> list[str]:
    """The ids of jobs in an order; ``jobs`` come in that of creation, which breaks ties as it does in the store."""
    keys: dict[str, Callable[[Job], Any]] = {
        "createdAt": lambda _: 0,
        "finishedAt": lambda job: job.finished_at,
        "runAt": lambda job: job.run_at,
        "priority": lambda job: job.priority,
    }
    ordered = [job.id for job in sorted(jobs, key=keys[sort.removeprefix("-")])]
    return ordered[::-1] if sort.startswith("-") else ordered
