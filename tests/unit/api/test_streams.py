"""Streams of events, seen from inside: what happens to one that lags behind, and how seats are counted."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from backroom.settings import Settings
from backroom.store import Event, Store, connect
from backroom.store.events import EventId, Span
from services.api.http import feed as feeds
from services.api.http.feed import Feed, Topic
from services.api.http.line import Line
from services.api.http.problems import Problem
from services.api.http.seats import Seats, Tally
from services.api.http.streams import EVENT_TYPES, EventStream, frame_of
from tests.unit.store.hand import a_job, submit

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDED = Topic(types=frozenset({"added"}))


@pytest.fixture
def store(redis_url: str, key_prefix: str) -> Iterator[Store]:
    """An empty store whose connections may be read from for long, and whose readers are waited for as long."""
    with connect(redis_url, timeout=10) as client:
        yield Store(client, prefix=key_prefix, settings=Settings(redis_timeout_seconds=60))


@pytest.fixture
def feed(store: Store) -> Iterator[Feed]:
    draining: list[bool] = []
    yield Feed(store, frame_of, is_draining=lambda: bool(draining))
    draining.append(True)


def listen(store: Store, feed: Feed, topic: Topic = ADDED, after: str | None = None) -> EventStream:
    stream = EventStream.of_topic(store, feed, topic, after, heartbeat_seconds=10, on_close=lambda: None, line=Line({}))
    assert next(stream).startswith(b"retry: ")
    return stream


def told(chunk: bytes) -> list[dict[str, str]]:
    return [json.loads(line[6:]) for line in chunk.decode().splitlines() if line.startswith("data: ")]


def told_until(stream: EventStream, number: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    while len(found) < number:
        found += told(next(stream))
    return found


def submit_all(store: Store, number: int) -> list[str]:
    return [each.id for each in store.submission.submit([a_job() for _ in range(number)])]


def test_one_who_lags_behind_reads_on_from_the_store_and_misses_nothing(
    store: Store, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MOST_BYTES", 2000)
    slow, quick = listen(store, feed), listen(store, feed, Topic(types=frozenset({"paused"})))
    ids = [job_id for _ in range(4) for job_id in submit_all(store, 400)]
    store.queues.pause("other")
    assert told_until(quick, 1)[0]["queue"] == "other"  # so the feed has read everything

    found = told_until(slow, 1600)

    assert [each["jobId"] for each in found] == ids
    last = submit(store)
    assert [each["jobId"] for each in told_until(slow, 1)] == [last]
    slow.close()
    quick.close()


def test_one_who_lags_too_far_is_told_that_events_are_missing(
    store: Store, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MOST_BYTES", 2000)
    slow, quick = listen(store, feed), listen(store, feed, Topic(types=frozenset({"paused"})))
    submit_all(store, 400)
    store.queues.pause("other")
    told_until(quick, 1)
    ids = submit_all(store, 3)
    store.redis.xtrim(store.keys.single("events"), maxlen=1, approximate=False)

    found = told_until(slow, 4)

    assert [each["type"] for each in found] == ["reset", "added", "added", "added"]
    assert [each["jobId"] for each in found[1:]] == ids
    slow.close()
    quick.close()


def test_a_feed_that_nobody_listens_to_stops_and_begins_anew(store: Store, feed: Feed) -> None:
    for _ in range(3):
        stream = listen(store, feed)
        job_id = submit(store)
        assert [each["jobId"] for each in told_until(stream, 1)] == [job_id]
        stream.close()
        stream.close()
        submit(store)


def test_internal_jobs_are_told_of_to_those_who_ask_for_their_queue() -> None:
    event = Event("1-1", "added", "j", "_internal", "tidy", 1)
    assert not ADDED.includes(event)
    assert Topic(types=frozenset({"added"}), queues=frozenset({"_internal"})).includes(event)
    assert Topic(types=frozenset({"added"}), job_id="j").includes(event)


@pytest.mark.parametrize(
    ("topic", "included"),
    [
        ({}, True),
        ({"names": frozenset({"mail"})}, True),
        ({"names": frozenset({"other"})}, False),
        ({"queues": frozenset({"other"})}, False),
        ({"job_id": "j"}, True),
        ({"job_id": "k"}, False),
        ({"job_id": "j", "queues": frozenset({"other"})}, False),
        ({"job_id": "j", "names": frozenset({"other"})}, False),
    ],
)
def test_a_topic_includes_what_its_key_may_hear_of(topic: dict[str, object], included: object) -> None:
    event = Event("1-1", "added", "j", "post", "mail", 1)
    assert Topic(types=frozenset(EVENT_TYPES), **topic).includes(event) is included  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("span", "after", "missing"),
    [
        (Span(None, EventId(0, 0), trimmed=False), (0, 0), False),
        (Span(None, EventId(0, 0), trimmed=False), (5, 0), True),
        (Span(EventId(5, 0), EventId(9, 0), trimmed=False), (0, 0), False),
        (Span(EventId(5, 0), EventId(9, 0), trimmed=True), (0, 0), True),
        (Span(EventId(5, 0), EventId(9, 0), trimmed=True), (4, 9), True),
        (Span(EventId(5, 0), EventId(9, 0), trimmed=True), (5, 0), False),
        (Span(EventId(5, 0), EventId(9, 0), trimmed=True), (9, 0), False),
        (Span(EventId(5, 0), EventId(9, 0), trimmed=True), (9, 1), True),
        (Span(None, EventId(9, 0), trimmed=True), (9, 0), True),
    ],
)
def test_what_a_span_of_history_misses(span: Span, after: tuple[int, int], missing: object) -> None:
    assert span.misses(EventId(*after)) is missing


def test_seats_are_counted_over_processes_and_those_of_the_dead_are_free() -> None:
    tally = Tally()
    mine, other = tally.open(), tally.open()
    seats = Seats(3)
    seats.share(tally, mine)
    child = os.fork()
    if child == 0:
        theirs = Seats(3)
        theirs.share(tally, other)
        theirs.take()
        theirs.take()
        os._exit(0)
    os.waitpid(child, 0)

    seats.take()
    with pytest.raises(Problem, match="3 callers"):
        seats.take()
    tally.close(other)
    seats.take()
    with seats.seat(), pytest.raises(Problem):
        seats.take()
    seats.take()
    assert tally.open() == other
