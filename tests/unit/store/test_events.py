"""The event stream: what happened, in order, resumable."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from backroom.settings import Settings
from backroom.store import Store, connect
from backroom.store.events import EventId
from tests.unit.store.hand import LONG, Worker, a_job, events, eventually, run, submit


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
    first = store.submission.submit([a_job() for _ in range(40)])
    second = submit(store)
    everything = store.events.read("0-0")

    assert [(event.type, event.job_id) for event in everything] == [
        (kind, job) for job in [*(each.id for each in first), second] for kind in ("added", "waiting")
    ]
    for place, event in enumerate(everything, start=1):
        assert store.events.read(event.id) == everything[place:]


def test_events_of_one_step_are_one_entry_and_ids_have_their_order(store: Store) -> None:
    store.submission.submit([a_job() for _ in range(40)])
    submit(store)
    ids = [EventId.parse(event.id) for event in store.events.read("0-0")]

    assert store.redis.xlen(store.keys.single("events")) == 4  # 32, 32, 16 and 2 events
    assert ids == sorted(set(ids))
    assert [str(each) for each in ids] == [event.id for event in store.events.read("0-0")]
    assert ids[-1] == store.events.span().last
    assert not store.events.span().misses(ids[0])


def test_a_reader_who_asks_for_few_entries_gets_all_of_each(store: Store) -> None:
    submit(store)
    submit(store)

    assert [event.type for event in store.events.read("0-0", count=1)] == ["added", "waiting"]


@pytest.mark.parametrize("place", ["0", "1", "2", "31", "999999999"])
def test_an_id_within_an_entry_that_has_no_such_place_is_an_id_all_the_same(store: Store, place: str) -> None:
    job_id = submit(store)
    entry = store.events.last_id()
    later = submit(store)

    assert store.events.read(f"0-0.{place}", count=1) == store.events.read("0-0", count=1)
    found = [event.job_id for event in store.events.read(f"{entry}.{place}")]
    assert found == [job_id] * (1 + (place == "0")) + [later] * 2


def test_reading_from_now_on_begins_at_the_newest(store: Store) -> None:
    assert store.events.last_id() == "0-0"
    run(store)

    assert store.events.read(store.events.last_id()) == []


def test_a_waiting_reader_gets_what_comes(store: Store, redis_url: str) -> None:
    url = f"{redis_url}{'&' if '?' in redis_url else '?'}client_name={store.keys.prefix}"
    with connect(url, timeout=120) as client, ThreadPoolExecutor(1) as pool:
        reader = Store(client, prefix=store.keys.prefix)
        found = pool.submit(reader.events.read, store.events.last_id(), block_ms=60_000)
        eventually(lambda: [one for one in store.redis.client_list() if is_blocked(one, store.keys.prefix)])

        submit(store)

        assert found.result(60)[0].type == "added"


def is_blocked(client: dict[str, str], name: str) -> bool:
    """Whether a client of the server's has this name and waits for something."""
    return client["name"] == name and "b" in client["flags"]


def test_a_waiting_reader_comes_back_with_nothing_in_the_end(store: Store) -> None:
    assert store.events.read(store.events.last_id(), block_ms=1) == []


def test_the_stream_stays_near_its_cap(store: Store) -> None:
    capped = Store(store.redis, prefix=store.keys.prefix, settings=Settings(events_max=100))
    for _ in range(10):
        capped.submission.submit([a_job() for _ in range(500)])

    assert 100 <= store.redis.xlen(store.keys.single("events")) <= 200
