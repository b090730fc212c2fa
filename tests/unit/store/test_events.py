"""The event stream: what happened, in order, resumable."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from backroom.settings import Settings
from backroom.store import Store
from tests.unit.store.hand import LONG, Worker, a_job, events, run, submit

if TYPE_CHECKING:
    from backroom.store.events import Event


def test_the_life_of_a_job_is_told_in_order(store: Store, worker: Worker) -> None:
    job_id = submit(store, attempts=2)
    worker.end(worker.claim_one(), "retry", delay=LONG)
    store.actions.promote(job_id)
    worker.end(worker.claim_one(), "failed")
    store.actions.retry(job_id)
    worker.end(worker.claim_one())
    store.actions.remove(job_id)

    assert events(store) == [
        "added",
        "waiting",
        "active",
        "delayed",
        "waiting",
        "active",
        "retries-exhausted",
        "failed",
        "waiting",
        "active",
        "completed",
        "removed",
    ]
    assert {event.job_id for event in store.events.read("0-0")} == {job_id}


def test_failed_is_said_only_at_the_final_failure(store: Store, worker: Worker) -> None:
    submit(store, attempts=3)
    worker.end(worker.claim_one(), "retry")
    worker.end(worker.claim_one(), "retry")

    assert events(store, "failed") == []


def test_an_event_says_what_where_and_when(store: Store, worker: Worker) -> None:
    job_id = submit(store, "resize", queue="images")
    worker.claim_one()

    event = store.events.read("0-0")[-1]

    seconds, _ = store.redis.time()
    assert (event.type, event.job_id, event.queue, event.name) == ("active", job_id, "images", "resize")
    assert event.fields == {"worker": "worker-1"}
    assert abs(event.at / 1000 - int(seconds)) <= 60


def test_some_events_say_more(store: Store, worker: Worker) -> None:
    submit(store, delay=LONG)
    submit(store, maxStalled=5)
    worker.end(worker.claim_one(), "stalled")
    worker.end(worker.claim_one(), "failed")

    fields = {event.type: event.fields for event in store.events.read("0-0")}

    assert fields["delayed"].keys() == {"runAt"}
    assert fields["stalled"] == {"stalled": "1"}
    assert fields["retries-exhausted"] == {"attemptsMade": "1"}


def test_a_reader_goes_on_where_it_stopped(store: Store) -> None:
    submit(store)
    first = store.events.read("0-0", count=1)
    rest = store.events.read(first[-1].id)
    submit(store)
    later = store.events.read(rest[-1].id)

    assert [event.type for event in [*first, *rest, *later]] == ["added", "waiting", "added", "waiting"]


def test_reading_from_now_on_begins_at_the_newest(store: Store) -> None:
    assert store.events.last_id() == "0-0"
    run(store)

    assert store.events.read(store.events.last_id()) == []


def test_a_waiting_reader_gets_what_comes(store: Store) -> None:
    found: list[Event] = []
    begins = store.events.last_id()
    reader = threading.Thread(target=lambda: found.extend(store.events.read(begins, block_ms=8000)))
    reader.start()

    submit(store)
    reader.join(timeout=10)

    assert found[0].type == "added"


def test_a_waiting_reader_comes_back_with_nothing_in_the_end(store: Store) -> None:
    assert store.events.read(store.events.last_id(), block_ms=1) == []


def test_the_stream_stays_near_its_cap(store: Store) -> None:
    capped = Store(store.redis, prefix=store.keys.prefix, settings=Settings(events_max=500))
    for _ in range(5):
        capped.submission.submit([a_job() for _ in range(500)])

    assert 500 <= store.redis.xlen(store.keys.single("events")) <= 1000
