"""Events: read as they happen, and taken up again where a connection ended."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backroom.client import Forbidden, TooManyRequests, UnexpectedAnswer, Unreachable
from tests.unit.client.scripted import DROP, HANG, PATIENCE, Say, Stream, events, problem

OVER = Say(204)


def seen_ids(api) -> list[str | None]:
    return [asked.headers.get("last-event-id") for asked in api.asked]


def test_events_are_read_as_they_come(api, room):
    api.play(Stream(events(("1-0", "added")), b": heartbeat\n\n", events(("2-0", "active")), HANG))
    with room.events(queue=["a", "b"], types="added") as stream:
        assert api.asked == []
        event = next(stream)
    assert (event.id, event.type, event.job_id, event.queue, event.name) == (
        "1-0",
        "added",
        "j1",
        "default",
        "heavy-task",
    )
    assert event.at == datetime(2030, 1, 31, 9, tzinfo=UTC)
    assert api.asked[0].path == "/v1/events"
    assert api.asked[0].query == {"queue": ["a", "b"], "type": ["added"]}
    assert api.asked[0].headers["accept"] == "text/event-stream"
    assert api.left.wait(PATIENCE), "closing the stream closes the connection"


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param([Stream(events(("1-0", "added")), DROP)], id="the connection breaks"),
        pytest.param([Stream(events(("1-0", "added")))], id="the server ends it well"),
        pytest.param([Stream(events(("1-0", "added")), b"id: 2-0\nevent: active\nda")], id="in an event"),
        pytest.param(
            [Stream(events(("1-0", "added"))), Say(503, problem(503, "draining")), DROP], id="and is away for a while"
        ),
    ],
)
def test_a_stream_goes_on_behind_the_last_event_it_has_seen(api, room, trouble):
    api.play(*trouble, Stream(events(("2-0", "active"))), OVER)
    stream = room.events()
    assert [(event.id, event.type) for event in stream] == [("1-0", "added"), ("2-0", "active")]
    assert seen_ids(api) == [None, *["1-0"] * len(trouble), "2-0"]
    assert stream.last_event_id == "2-0"


def test_a_stream_begins_where_it_is_told_to(api, room):
    api.play(OVER)
    assert list(room.events(last_event_id="7-0")) == []
    assert seen_ids(api) == ["7-0"]


def test_a_heartbeat_is_a_sign_of_life(api, room, time):
    alive = Stream(b": heartbeat\n\n", DROP)
    api.play(*[alive] * 20, OVER)
    assert list(room.events()) == []
    assert set(time.slept) == {0.125}


def test_the_server_may_say_how_long_to_stay_away(api, room, time):
    api.play(Stream(b"retry: 3000\n", events(("1-0", "added"))), OVER)
    list(room.events())
    assert time.slept == [3.0]


def test_a_stream_that_never_began_is_given_up_as_soon_as_any_request(api, room, time):
    api.play(*[DROP] * 5)
    with pytest.raises(Unreachable):
        next(room.events())
    assert len(time.slept) == 4


def test_a_stream_that_has_begun_outlasts_an_outage_up_to_a_limit(api, room, time):
    api.play(Stream(events(("1-0", "added")), DROP), *[DROP] * 100)
    stream = room.events(outage=60)
    next(stream)
    began = time.now
    with pytest.raises(Unreachable):
        next(stream)
    assert 60 <= time.now - began < 70


def test_a_server_that_asks_for_an_hour_is_not_waited_for(api, room, time):
    asks = Say(429, problem(429, "too-many-requests"), {"Retry-After": "3600"})
    api.play(asks)
    with pytest.raises(TooManyRequests):
        next(room.events())
    api.play(Stream(events(("1-0", "added"))), asks)
    stream = room.events()
    next(stream)
    with pytest.raises(TooManyRequests):
        next(stream)
    assert 3600 not in time.slept


def test_a_server_that_asks_for_a_while_is_waited_for(api, room, time):
    asks = Say(503, problem(503, "too-many-waits"), {"Retry-After": "50"})
    api.play(asks, Stream(events(("1-0", "added"))))
    next(room.events())
    assert time.slept == [50.0]


def test_a_refusal_is_final(api, room):
    api.play(Say(403, problem(403, "forbidden")))
    with pytest.raises(Forbidden):
        next(room.events())
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    "answer", [Say(200, {"hello": "world"}), Stream(b"data: not json\n\n"), Stream(b"data: 1\n\n")]
)
def test_what_are_no_events_is_told_apart(api, room, answer):
    api.play(answer)
    with pytest.raises(UnexpectedAnswer):
        next(room.events())


def test_that_some_were_missed_is_an_event_whatever_was_asked_for(api, room):
    api.play(Stream(events(("5-0", "reset"), ("6-0", "completed"))), OVER)
    assert [event.type for event in room.events(types=["completed"])] == ["reset", "completed"]


@pytest.mark.parametrize("last", ["completed", "failed", "cancelled", "expired", "removed"])
def test_the_events_of_a_job_end_when_the_job_does(api, room, last):
    api.play(Stream(events(("1-0", "added"), ("2-0", "active"), ("3-0", last), ("4-0", "added")), HANG))
    assert [event.type for event in room.events(job="j1")] == ["added", "active", last]
    assert (api.asked[0].path, api.asked[0].query) == ("/v1/jobs/j1/events", {})
    assert api.left.wait(PATIENCE)


def test_the_events_of_a_job_are_chosen_here_and_still_end_with_it(api, room):
    api.play(Stream(events(("1-0", "active"), ("2-0", "progress"), ("3-0", "completed")), HANG))
    assert [event.type for event in room.events(job="j1", types=["progress"])] == ["progress"]


def test_what_a_job_did_while_the_connection_was_down_is_told(api, room):
    api.play(Stream(events(("1-0", "active"))), Stream(events(("2-0", "failed")), HANG))
    assert [event.type for event in room.events(job="j1")] == ["active", "failed"]
    assert seen_ids(api) == [None, "1-0"]


def test_a_job_of_which_all_was_told_has_no_more_events(api, room):
    api.play(OVER)
    assert list(room.events(job="j1", last_event_id="9-0")) == []


def test_a_job_and_a_queue_exclude_each_other(room):
    with pytest.raises(ValueError, match="give job or queue, not both"):
        room.events(job="j1", queue="q")
