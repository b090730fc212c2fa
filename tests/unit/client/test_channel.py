"""One request and its answer: what is tried again, what is not, and what a refusal becomes."""

from __future__ import annotations

import socket
from uuid import UUID

import pytest

from backroom.client import (
    Backroom,
    BackroomAPIError,
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    InvalidInput,
    NewJob,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    ServerError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from tests.unit.client.scripted import DROP, Say, job, problem

READS = [
    pytest.param(lambda room: room.job("j1"), id="a read"),
    pytest.param(lambda room: room.submit("heavy-task"), id="a submission"),
    pytest.param(lambda room: room.enqueue("u1"), id="the quick door"),
    pytest.param(lambda room: room.schedules.run("nightly"), id="a schedule run by hand"),
    pytest.param(lambda room: room.update("j1", priority=1), id="an update of the job as it is"),
]
ACTIONS = [
    pytest.param(lambda room: room.cancel("j1"), id="cancel"),
    pytest.param(lambda room: room.retry("j1"), id="retry"),
    pytest.param(lambda room: room.promote("j1"), id="promote"),
    pytest.param(lambda room: room.update("j1", priority=1, etag='"1"'), id="update"),
]
PASSING = [
    pytest.param(Say(503, problem(503, "store-unavailable")), id="503"),
    pytest.param(Say(429, problem(429, "too-many-requests")), id="429"),
    pytest.param(Say(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}), id="502 of a proxy"),
    pytest.param(Say(504, b""), id="504 of a proxy"),
    pytest.param(DROP, id="a lost answer"),
]


@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize("trouble", PASSING)
def test_what_cannot_do_twice_what_was_asked_for_once_is_sent_again(api, room, time, call, trouble):
    api.play(trouble, trouble, Say(200, job()))
    assert call(room).id == "j1"
    assert time.slept == [0.125, 0.25]
    assert len({(asked.method, asked.target, asked.body) for asked in api.asked}) == 1


@pytest.mark.parametrize("call", ACTIONS)
@pytest.mark.parametrize("trouble", [each for each in PASSING if each.id != "429"])
def test_an_action_that_may_have_happened_is_not(api, room, time, call, trouble):
    api.play(trouble)
    with pytest.raises((BackroomAPIError, Unreachable)):
        call(room)
    assert (len(api.asked), time.slept) == (1, [])


@pytest.mark.parametrize("call", ACTIONS)
def test_an_action_that_was_certainly_not_begun_is(api, room, time, call):
    api.play(Say(429, problem(429, "too-many-requests"), {"Retry-After": "3"}))
    schedule_or_job = job()
    api.play(Say(200, schedule_or_job))
    assert call(room).id == "j1"
    assert time.slept == [3.0]


@pytest.mark.parametrize(
    "call",
    [lambda room: room.queues.pause("q"), lambda room: room.workers.quiet("w"), lambda room: room.queues.drain("q")],
    ids=["pause", "quiet", "drain"],
)
def test_an_action_that_does_the_same_when_it_is_done_twice_is_sent_again(api, room, call):
    queue = {"name": "q", "paused": True, "counts": {}, "limits": {}, "removed": 1}
    api.play(DROP, Say(200, queue))
    call(room)
    assert len(api.asked) == 2


def test_a_submission_that_is_sent_again_has_the_same_idempotency_key(api, room):
    api.play(DROP, Say(202, job()), Say(202, job()))
    room.submit("heavy-task")
    room.submit("heavy-task")
    first, again, other = [asked.headers["idempotency-key"] for asked in api.asked]
    assert first == again != other
    assert UUID(first)


def test_ones_own_idempotency_key_is_used(api, room):
    api.play(Say(202, {"jobs": [{"id": "j1", "state": "waiting", "duplicate": False}]}))
    room.submit_many([NewJob("heavy-task")], idempotency_key="order-17")
    assert api.asked[0].headers["idempotency-key"] == "order-17"


def test_a_submission_waits_for_the_one_before_with_its_key(api, room, time):
    api.play(DROP, Say(409, problem(409, "still-running"), {"Retry-After": "1"}), Say(202, job()))
    assert room.submit("heavy-task").id == "j1"
    assert time.slept == [0.125, 1.0]


def test_a_conflict_of_anything_else_is_one(api, room):
    api.play(Say(409, problem(409, "wrong-state")))
    with pytest.raises(Conflict):
        room.cancel("j1")
    assert len(api.asked) == 1


def test_the_tries_come_to_an_end(api, room, time):
    api.play(*[Say(503, problem(503, "store-unavailable"), {"Retry-After": "2"})] * 5)
    with pytest.raises(Unavailable) as refused:
        room.job("j1")
    assert refused.value.retry_after == 2
    assert time.slept == [2.0] * 4


def test_a_server_that_asks_for_an_hour_is_not_waited_for(api, room, time):
    api.play(Say(429, problem(429, "too-many-requests"), {"Retry-After": "3600"}))
    with pytest.raises(TooManyRequests) as refused:
        room.job("j1")
    assert (refused.value.retry_after, time.slept) == (3600, [])


def test_a_job_that_is_gone_at_the_second_try_to_remove_it_was_removed_by_the_first(api, room):
    api.play(DROP, Say(404, problem(404, "not-found")), Say(404, problem(404, "not-found")))
    room.remove("j1")
    with pytest.raises(NotFound):
        room.remove("j1")


def test_where_nobody_listens_every_request_is_tried_again_and_then_given_up(policy, time):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Backroom(url, retries=policy) as room, pytest.raises(Unreachable, match="Is the stack up") as error:
        room.cancel("j1")
    assert url in str(error.value)
    assert "tried 5 times" in str(error.value)
    assert len(time.slept) == 4


def test_a_server_that_says_nothing_is_given_up_in_time(policy, time):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Backroom(url, timeout=0.05, retries=policy) as room, pytest.raises(Unreachable, match="in time"):
            room.job("j1")
    assert len(time.slept) == 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, BackroomAPIError),
        (409, Conflict),
        (412, PreconditionFailed),
        (413, TooLarge),
        (415, BackroomAPIError),
        (422, InvalidInput),
        (428, PreconditionRequired),
        (500, ServerError),
    ],
)
def test_each_refusal_has_a_class(api, room, status, kind):
    api.play(Say(status, problem(status, "some-code")))
    with pytest.raises(BackroomAPIError) as refused:
        room.cancel("j1")
    error = refused.value
    assert type(error) is kind
    assert (error.status, error.type, error.code, error.title) == (
        status,
        "/problems#some-code",
        "some-code",
        "Some-code",
    )
    assert (error.detail, str(error), error.request_id) == ("It is some-code.", "It is some-code.", "r1")


def test_a_refusal_says_what_is_wrong_field_by_field(api, room):
    wrong = [{"pointer": "/options/priority", "code": "less-than-equal", "message": "is too large"}]
    api.play(Say(422, problem(422, "invalid-input", errors=wrong)))
    with pytest.raises(InvalidInput) as refused:
        room.submit("heavy-task", priority=3_000_000)
    assert refused.value.errors == (FieldError("/options/priority", "less-than-equal", "is too large"),)


@pytest.mark.parametrize("body", [b"<html>no</html>", b"[]", b"null", b'{"type": "x"}', b""])
def test_a_refusal_that_is_not_the_apis_own_is_told_apart(api, room, body):
    api.play(Say(403, body, {"X-Request-Id": "r2", "Content-Type": "text/html"}))
    with pytest.raises(Forbidden, match="not in the words of Backroom") as refused:
        room.cancel("j1")
    assert (refused.value.type, refused.value.code, refused.value.request_id) == ("about:blank", "", "r2")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Say(200, b"<html>", {"Content-Type": "text/html"}), "is this the address of a Backroom API"),
        (Say(200, {"hello": "world"}), "is the server of another version"),
        (Say(200, []), "is the server of another version"),
        (Say(200, job(state="dreaming")), "is the server of another version"),
        (Say(308, b"", {"Location": "https://example.com/"}), "leads on to https://example.com/"),
    ],
)
def test_an_answer_of_something_else_says_so(api, room, answer, words):
    api.play(answer)
    with pytest.raises(UnexpectedAnswer, match=words):
        room.job("j1")


def test_requests_carry_the_key_and_say_who_asks(api, room):
    api.play(Say(200, job()))
    room.job("j1")
    headers = api.asked[0].headers
    assert headers["authorization"] == "Bearer a-key-of-sixteen"
    assert headers["user-agent"].startswith("backroom-python/")
    assert headers["accept"] == "application/json"


def test_without_a_key_none_is_sent(api):
    api.play(Say(200, job()))
    with Backroom(api.url) as room:
        room.job("j1")
    assert "authorization" not in api.asked[0].headers


def test_the_api_may_live_below_a_path_and_names_are_quoted(api):
    api.play(Say(200, job()), Say(200, job()))
    with Backroom(f"{api.url}/jobs/room/") as room:
        room.job("j1")
        room.job("a/b c?d#e%")
    assert [asked.target for asked in api.asked] == ["/jobs/room/v1/jobs/j1", "/jobs/room/v1/jobs/a%2Fb%20c%3Fd%23e%25"]


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://localhost", "http://", "redis://localhost:6379/0"])
def test_an_address_that_is_none_is_refused_at_once(url):
    with pytest.raises(ValueError, match="the address of the API is like"):
        Backroom(url)


@pytest.mark.parametrize("data", [float("nan"), {1, 2}, object()])
def test_data_that_is_not_json_is_refused_before_anything_is_sent(api, room, data):
    with pytest.raises((ValueError, TypeError), match="JSON"):
        room.submit("heavy-task", data)
    assert api.asked == []
