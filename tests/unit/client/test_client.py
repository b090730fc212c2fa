"""What the calls of the client ask, and what they make of the answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backroom.client import (
    Backroom,
    Exponential,
    JobFailed,
    Limits,
    NewJob,
    NotFound,
    PreconditionFailed,
    Rate,
    State,
    Unavailable,
    WaitTimeout,
)
from tests.unit.client.scripted import DROP, Say, job, problem

DONE = {"state": "completed", "result": {"answer": 42}, "finishedAt": "2030-01-31T09:00:01.000Z"}


def line(seq: int) -> dict[str, object]:
    at = "2030-01-31T09:00:00.000Z"
    return {"seq": seq, "at": at, "level": "INFO", "logger": "jobs", "message": f"line {seq}", "attempt": 1}


def queue(**changes: object) -> dict[str, object]:
    counts = {str(state): 0 for state in State}
    limits = {"concurrency": None, "rate": None, "maxLength": None}
    plain = {"name": "q", "paused": False, "counts": counts, "oldestWaitingMs": None, "limits": limits, "rates": {}}
    return {**plain, **changes}


def schedule(**changes: object) -> dict[str, object]:
    return {
        "key": "nightly",
        "pattern": "0 3 * * *",
        "every": None,
        "tz": "Europe/Berlin",
        "description": "At 03:00",
        "job": {"name": "purge-artifacts", "data": {}, "queue": "maintenance", "options": {}},
        "startDate": None,
        "endDate": "2031-01-01T00:00:00.000Z",
        "limit": None,
        "misfire": "one",
        "overlap": True,
        "paused": False,
        "state": "active",
        "next": ["2030-02-01T02:00:00.000Z"],
        "lastFires": [
            {"slot": "2030-01-31T02:00:00.000Z", "at": "2030-01-31T02:00:00.010Z", "jobId": "j1"},
            {"slot": None, "at": "2030-01-30T12:00:00.000Z", "jobId": "j0"},
        ],
        "fireCount": 1,
        **changes,
    }


# Submitting.


def test_a_submission_sends_pythons_words_as_the_apis(api, room):
    api.play(Say(202, job(duplicate=False)))
    room.submit(
        "usage-report",
        {"userId": "u1"},
        queue="slow",
        traceparent="00-1-2-01",
        attempts=5,
        backoff=Exponential(1),
        delay=60,
    )
    (asked,) = api.asked
    assert (asked.method, asked.path) == ("POST", "/v1/jobs")
    assert asked.json == {
        "name": "usage-report",
        "data": {"userId": "u1"},
        "queue": "slow",
        "options": {"attempts": 5, "backoff": {"type": "exponential", "delay": 1000, "jitter": 0.0}, "delay": 60_000},
    }
    assert asked.headers["traceparent"] == "00-1-2-01"


@pytest.mark.parametrize("data", [{}, [], "", 0, False, None])
def test_data_may_be_any_json_value_and_is_an_empty_object_if_left_out(api, room, data):
    api.play(Say(202, job()), Say(202, job()))
    room.submit("a", data)
    room.submit("a")
    assert [asked.json["data"] for asked in api.asked] == [data, {}]


def test_a_job_whose_id_is_in_use_is_told_apart(api, room):
    api.play(Say(200, job(duplicate=True, **DONE)), Say(202, job(duplicate=False)))
    assert room.submit("a", job_id="j1", wait=10).duplicate
    assert not room.submit("a").duplicate


def test_the_quick_door_takes_a_user_and_a_payload(api, room):
    api.play(Say(202, job()))
    room.enqueue("u1", {"rounds": 5}, priority=1)
    assert api.asked[0].path == "/jobs/enqueue"
    assert api.asked[0].json == {"userId": "u1", "payload": {"rounds": 5}, "options": {"priority": 1}}


def test_many_jobs_go_in_one_request(api, room):
    answers = [{"id": "j1", "state": "waiting", "duplicate": False}, {"id": "j2", "state": "failed", "duplicate": True}]
    api.play(Say(202, {"jobs": answers}))
    first, second = room.submit_many(NewJob("a", {"n": n}, options={"attempts": 2}) for n in range(2))
    assert (first.id, first.state, first.duplicate) == ("j1", State.WAITING, False)
    assert (second.id, second.state, second.duplicate) == ("j2", State.FAILED, True)
    assert [each["data"] for each in api.asked[0].json["jobs"]] == [{"n": 0}, {"n": 1}]


def test_a_submission_that_waits_returns_the_finished_job(api, room):
    api.play(Say(202, job()), Say(200, job(**DONE)))
    assert room.submit("a", wait=10).result == {"answer": 42}
    assert [(asked.method, asked.headers.get("prefer")) for asked in api.asked] == [("POST", None), ("GET", "wait=10")]


# Reading.


def test_a_job_has_every_field_in_pythons_words(api, room):
    error = {"type": "ValueError", "message": "no", "traceback": "...", "attempt": 1, "at": "2030-01-31T09:00:00.500Z"}
    attempt = {
        "attempt": 1,
        "startedAt": "2030-01-31T09:00:00.100Z",
        "finishedAt": "2030-01-31T09:00:00.500Z",
        "worker": "w",
        "outcome": "failed",
        "error": error,
    }
    raw = job(
        state="delayed",
        stateReason={"code": "backoff", "until": "2030-01-31T09:01:00.000Z"},
        tags=["a"],
        progress={"percent": 40.0, "message": "half way"},
        error=error,
        attemptLog=[attempt],
        waitMs=12,
        somethingNew=1,
    )
    api.play(Say(200, raw, {"ETag": '"7-0"'}))
    found = room.job("j1")
    assert found.state is State.DELAYED
    assert found.state_reason is not None
    assert (found.state_reason.code, found.state_reason.until) == ("backoff", datetime(2030, 1, 31, 9, 1, tzinfo=UTC))
    assert (found.tags, found.progress.percent, found.progress.message) == (("a",), 40.0, "half way")
    assert (found.error.type, found.error.message, found.error.attempt) == ("ValueError", "no", 1)
    assert (found.attempt_log[0].outcome, found.attempt_log[0].error) == ("failed", found.error)
    assert (found.created_at, found.wait_ms, found.run_at) == (datetime(2030, 1, 31, 9, tzinfo=UTC), 12, None)
    assert (found.etag, found.raw["somethingNew"], found.finished) == ('"7-0"', 1, False)


def test_jobs_are_fetched_page_by_page_as_they_are_asked_for(api, room):
    api.play(
        Say(200, {"jobs": [job(id="j1"), job(id="j2")], "next": "c1"}),
        Say(200, {"jobs": [], "next": "c2"}),
        Say(200, {"jobs": [job(id="j3")], "next": None}),
    )
    jobs = room.jobs(state=[State.WAITING, "failed"], queue="q", tag=("a", "b"), q="some words")
    assert api.asked == []
    assert next(jobs).id == "j1"
    assert len(api.asked) == 1
    assert [each.id for each in jobs] == ["j2", "j3"]
    assert [asked.query.get("cursor") for asked in api.asked] == [None, ["c1"], ["c2"]]
    for asked in api.asked:
        assert asked.query["state"] == ["waiting", "failed"]
        assert (asked.query["queue"], asked.query["tag"], asked.query["q"]) == (["q"], ["a", "b"], ["some words"])


def test_filters_are_sent_in_the_words_of_the_api(api, room):
    api.play(Say(200, {"jobs": [job()], "next": "more"}))
    moment = datetime(2030, 1, 31, 9, tzinfo=UTC)
    list(room.jobs(user_id="u1", name="a", since=moment, before=moment + timedelta(1), sort="priority", limit=1))
    assert api.asked[0].query == {
        "userId": ["u1"],
        "name": ["a"],
        "from": ["2030-01-31T09:00:00+00:00"],
        "to": ["2030-02-01T09:00:00+00:00"],
        "sort": ["priority"],
        "limit": ["1"],
    }
    assert len(api.asked) == 1


def test_no_jobs_are_asked_for_when_none_are_wanted(api, room):
    assert list(room.jobs(limit=0)) == []
    assert api.asked == []


# Waiting.


def test_waiting_asks_the_server_to_hold_the_request_again_and_again(api, room, time):
    def half_a_minute_goes_by() -> None:
        time.now += 29.0

    time.on_sleep = half_a_minute_goes_by
    api.play(Say(200, job()), Say(200, job(state="active")), Say(200, job(**DONE)))
    assert room.wait("j1").finished
    assert [asked.headers["prefer"] for asked in api.asked] == ["wait=30"] * 3


def test_waiting_goes_on_when_a_connection_breaks(api, room):
    api.play(DROP, Say(503, problem(503, "draining")), DROP, Say(200, job(**DONE)))
    assert room.wait("j1").result == {"answer": 42}


def test_waiting_ends_when_the_time_is_up(api, room, time):
    api.play(*[Say(200, job(state="active"))] * 3)
    with pytest.raises(WaitTimeout, match=r"Job j1 is still active after 2.5 s. It goes on") as error:
        room.wait("j1", timedelta(seconds=2.5))
    assert error.value.job.state is State.ACTIVE
    assert isinstance(error.value, TimeoutError)
    assert [asked.headers["prefer"] for asked in api.asked] == ["wait=3", "wait=2", "wait=1"]


def test_a_server_that_holds_no_requests_is_not_stormed(api, room, time):
    api.play(*[Say(200, job(state="active"))] * 3, Say(200, job(**DONE)))
    room.wait("j1")
    assert time.slept == [1, 1, 1]


def test_where_too_many_wait_already_one_looks_now_and_then(api, room, time):
    full = Say(503, problem(503, "too-many-waits"), {"Retry-After": "2"})
    api.play(*[full] * 5, Say(200, job()), *[full] * 5, Say(200, job(**DONE)))
    assert room.wait("j1").finished
    assert [asked.headers.get("prefer") for asked in api.asked] == [*["wait=30"] * 5, None] * 2


def test_waiting_for_no_longer_than_now_looks_once(api, room):
    api.play(Say(200, job()))
    with pytest.raises(WaitTimeout):
        room.wait("j1", 0)
    assert [asked.headers["prefer"] for asked in api.asked] == ["wait=0"]


def test_while_the_server_is_away_no_try_begins_after_the_time_is_up(api, room, time):
    api.play(*[Say(503, problem(503, "store-unavailable"), {"Retry-After": "2"})] * 3)
    with pytest.raises(Unavailable):
        room.wait("j1", 3)
    assert (len(api.asked), time.slept) == (2, [2.0])


def test_one_may_watch_the_job_on_its_way(api, room):
    api.play(Say(200, job()), Say(200, job(state="active")), Say(200, job(**DONE)))
    seen = []
    room.wait("j1", report=lambda each: seen.append(each.state))
    assert seen == ["waiting", "active", "completed"]
    assert {asked.headers["prefer"] for asked in api.asked} == {"wait=1"}


@pytest.mark.parametrize("value", [{"a": [1]}, "text", 0, None, False])
def test_a_result_is_the_value_itself(api, room, value):
    api.play(Say(200, value))
    assert room.result("j1") == value
    assert len(api.asked) == 1


def test_a_result_can_be_waited_for(api, room):
    api.play(Say(200, job(**DONE)), Say(200, {"answer": 42}))
    assert room.result("j1", timeout=None) == {"answer": 42}


def test_a_result_that_is_not_there_yet_says_so(api, room):
    api.play(Say(202, {"id": "j1", "state": "active", "links": {}}), Say(200, job(state="active")))
    with pytest.raises(WaitTimeout) as error:
        room.result("j1")
    assert error.value.job.state is State.ACTIVE


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
def test_a_job_without_a_result_is_an_error_that_has_the_job(api, room, state):
    error = {"type": "ValueError", "message": "no such user", "traceback": None} if state == "failed" else None
    api.play(Say(409, problem(409, "wrong-state")), Say(200, job(state=state, error=error)))
    with pytest.raises(JobFailed) as failed:
        room.result("j1")
    assert failed.value.job.state == state
    more = ": ValueError: no such user" if error else "."
    assert str(failed.value) == f"Job j1 (heavy-task) is {state}{more}"


# Logs.


def test_a_log_is_read_page_by_page(api, room):
    api.play(Say(200, {"logs": [line(1), line(2)], "next": 2}), Say(200, {"logs": [line(3)], "next": None}))
    assert [each.message for each in room.logs("j1")] == ["line 1", "line 2", "line 3"]
    assert [asked.query["after"] for asked in api.asked] == [["0"], ["2"]]


def test_a_log_is_followed_until_the_job_has_finished_and_nothing_is_left(api, room):
    api.play(
        Say(200, job(state="active")),
        Say(200, {"logs": [], "next": None}),
        Say(200, job(state="active")),
        Say(200, {"logs": [line(1)], "next": None}),
        Say(200, job(**DONE)),
        Say(200, {"logs": [line(2)], "next": None}),
    )
    assert [each.seq for each in room.logs("j1", follow=True)] == [1, 2]
    logs = [asked for asked in api.asked if asked.path.endswith("/logs")]
    assert [asked.query["after"] for asked in logs] == [["0"], ["0"], ["1"]]


def test_following_a_job_that_is_not_there_says_so(api, room):
    api.play(Say(404, problem(404, "not-found")))
    with pytest.raises(NotFound):
        next(room.logs("j1", follow=True))


# Acting.


@pytest.mark.parametrize(
    ("act", "path", "body"),
    [
        (lambda room: room.cancel("j1"), "cancel", None),
        (lambda room: room.retry("j1"), "retry", {"resetAttempts": False}),
        (lambda room: room.retry("j1", reset_attempts=True), "retry", {"resetAttempts": True}),
        (lambda room: room.promote("j1"), "promote", None),
        (lambda room: room.reschedule("j1", delay=1.5), "reschedule", {"delay": 1500}),
        (
            lambda room: room.reschedule("j1", run_at=datetime(2030, 1, 31, tzinfo=UTC)),
            "reschedule",
            {"runAt": "2030-01-31T00:00:00+00:00"},
        ),
    ],
)
def test_an_action_posts_and_returns_the_job(api, room, act, path, body):
    api.play(Say(202, job()))
    assert act(room).id == "j1"
    (asked,) = api.asked
    assert (asked.method, asked.path) == ("POST", f"/v1/jobs/j1/{path}")
    assert (asked.json if asked.body else None) == body


@pytest.mark.parametrize("times", [{}, {"delay": 1, "run_at": datetime(2030, 1, 31, tzinfo=UTC)}])
def test_a_new_due_time_is_one(room, times):
    with pytest.raises(ValueError, match="give delay or run_at, one of them"):
        room.reschedule("j1", **times)


def test_an_update_without_a_tag_is_made_to_the_job_as_it_is(api, room):
    api.play(DROP, Say(200, job(priority=3), {"ETag": '"3"'}))
    updated = room.update("j1", data=None, priority=3, tags=["a"])
    assert (updated.priority, updated.etag) == (3, '"3"')
    assert [asked.headers["if-match"] for asked in api.asked] == ["*", "*"]
    assert api.asked[0].json == {"data": None, "priority": 3, "tags": ["a"]}


def test_an_update_with_a_tag_is_refused_if_the_job_has_changed(api, room):
    api.play(Say(412, problem(412, "stale")))
    with pytest.raises(PreconditionFailed):
        room.update("j1", priority=3, etag='"1"')
    assert (len(api.asked), api.asked[0].json) == (1, {"priority": 3})


# Queues, schedules, workers.


def test_a_queue_has_every_field_in_pythons_words(api, room):
    limits = {"concurrency": 5, "rate": {"max": 10, "duration": 1500, "limitedForMs": 20}, "maxLength": 100}
    counts = {str(state): 0 for state in State} | {"waiting": 7}
    api.play(Say(200, {"queues": [queue(limits=limits, counts=counts, oldestWaitingMs=12, rates={"x": 1.5})]}))
    (found,) = room.queues.list()
    assert (found.counts[State.WAITING], found.oldest_waiting_ms, found.rates) == (7, 12, {"x": 1.5})
    assert found.limits == Limits(concurrency=5, rate=Rate(10, 1.5), max_length=100, limited_for_ms=20)


def test_a_queue_that_only_a_job_holds_back_has_no_rate(api, room):
    limits = {"concurrency": None, "rate": {"max": None, "duration": None, "limitedForMs": 20}, "maxLength": None}
    api.play(Say(200, queue(limits=limits)))
    assert room.queues.get("q").limits == Limits(None, None, None, 20)


@pytest.mark.parametrize(
    ("act", "method", "path", "body"),
    [
        (lambda queues: queues.get("q"), "GET", "", None),
        (lambda queues: queues.pause("q"), "POST", "/pause", None),
        (lambda queues: queues.resume("q"), "POST", "/resume", None),
        (lambda queues: queues.set_limits("q", concurrency=2), "PUT", "/limits", {"concurrency": 2}),
        (
            lambda queues: queues.set_limits("q", rate=Rate(10, 0.5), max_length=9),
            "PUT",
            "/limits",
            {"rate": {"max": 10, "duration": 500}, "maxLength": 9},
        ),
        (lambda queues: queues.clear_limits("q"), "DELETE", "/limits", None),
    ],
)
def test_a_queue_is_acted_on_by_name(api, room, act, method, path, body):
    api.play(Say(200, queue()))
    act(room.queues)
    (asked,) = api.asked
    assert (asked.method, asked.path) == (method, f"/v1/queues/q{path}")
    assert (asked.json if asked.body else None) == body


def test_emptying_a_queue_returns_what_was_removed(api, room):
    api.play(Say(200, {"ids": ["j1", "j2"]}), Say(200, {"removed": 3}), Say(200, {"removed": 4}))
    assert room.queues.clean("q", State.FAILED, grace=timedelta(hours=1), limit=10) == ("j1", "j2")
    assert room.queues.drain("q") == 3
    assert room.queues.obliterate("q", force=True) == 4
    assert [(asked.path, asked.json) for asked in api.asked] == [
        ("/v1/queues/q/clean", {"state": "failed", "grace": 3_600_000, "limit": 10}),
        ("/v1/queues/q/drain", {"delayed": False}),
        ("/v1/queues/q/obliterate", {"force": True}),
    ]


def test_a_schedule_is_put_in_pythons_words_and_read_in_them(api, room):
    api.play(Say(201, schedule()))
    found = room.schedules.put(
        "nightly",
        NewJob("purge-artifacts", options={"timeout": 60}),
        pattern="0 3 * * *",
        tz="Europe/Berlin",
        end=datetime(2031, 1, 1, tzinfo=UTC),
        misfire="one",
        overlap=False,
    )
    assert (api.asked[0].method, api.asked[0].path) == ("PUT", "/v1/schedules/nightly")
    assert api.asked[0].json == {
        "job": {"name": "purge-artifacts", "data": {}, "options": {"timeout": 60_000}},
        "pattern": "0 3 * * *",
        "tz": "Europe/Berlin",
        "endDate": "2031-01-01T00:00:00+00:00",
        "misfire": "one",
        "overlap": False,
    }
    assert (found.key, found.pattern, found.every, found.paused) == ("nightly", "0 3 * * *", None, False)
    assert found.end == datetime(2031, 1, 1, tzinfo=UTC)
    assert found.next == (datetime(2030, 2, 1, 2, tzinfo=UTC),)
    newest, by_hand = found.last_fires
    assert (newest.job_id, newest.slot, by_hand.slot) == ("j1", datetime(2030, 1, 31, 2, tzinfo=UTC), None)
    assert found.fire_count == 1


def test_a_schedule_in_intervals_has_seconds(api, room):
    api.play(Say(200, schedule(pattern=None, every=1500, state="paused", paused=True)))
    found = room.schedules.put("often", NewJob("a"), every=1.5)
    assert (api.asked[0].json["every"], found.every, found.pattern, found.paused) == (1500, 1.5, None, True)


def test_a_word_that_says_nothing_about_a_schedule_is_refused(room):
    with pytest.raises(TypeError, match="'cron' says nothing about a schedule; there are pattern, every"):
        room.schedules.put("nightly", NewJob("a"), cron="0 3 * * *")


@pytest.mark.parametrize(
    ("act", "method", "path", "answer"),
    [
        (lambda schedules: schedules.list()[0], "GET", "", {"schedules": [schedule()], "next": None}),
        (lambda schedules: schedules.get("code:a"), "GET", "/code%3Aa", schedule()),
        (lambda schedules: schedules.pause("a"), "POST", "/a/pause", schedule()),
        (lambda schedules: schedules.resume("a"), "POST", "/a/resume", schedule()),
        (lambda schedules: schedules.run("a"), "POST", "/a/run", job()),
        (lambda schedules: schedules.remove("a"), "DELETE", "/a", None),
    ],
)
def test_a_schedule_is_acted_on_by_its_key(api, room, act, method, path, answer):
    api.play(Say(200, answer) if answer else Say(204))
    act(room.schedules)
    assert (api.asked[0].method, api.asked[0].path) == (method, f"/v1/schedules{path}")


def test_workers_job_types_and_stats_are_read(api, room):
    worker = {
        "id": "worker-1@host",
        "host": "host",
        "pid": 7,
        "queues": None,
        "pool": "prefork",
        "slots": 2,
        "busy": 1,
        "jobs": ["j1"],
        "startedAt": "2030-01-31T09:00:00.000Z",
        "heartbeatAt": "2030-01-31T09:00:05.000Z",
        "state": "running",
    }
    kind = {
        "name": "a",
        "queue": "q",
        "description": "Does it.",
        "schema": {},
        "defaults": {"attempts": 3},
        "workers": 1,
    }
    counts = {str(state): 0 for state in State} | {"active": 1}
    stats = {
        "counts": counts,
        "queues": 1,
        "pausedQueues": 0,
        "oldestWaitingMs": None,
        "workers": 1,
        "busy": 1,
        "slots": 2,
    }
    api.play(
        Say(200, {"workers": [worker, {**worker, "queues": ["q"]}]}), Say(200, {"jobTypes": [kind]}), Say(200, stats)
    )
    first, second = room.workers.list()
    assert (first.id, first.queues, second.queues, first.jobs, first.slots) == (
        "worker-1@host",
        None,
        ("q",),
        ("j1",),
        2,
    )
    assert room.job_types()[0].defaults == {"attempts": 3}
    assert room.stats().counts[State.ACTIVE] == 1


@pytest.mark.parametrize("verb", ["quiet", "stop"])
def test_a_worker_is_sent_home_by_its_id(api, room, verb):
    api.play(Say(202, {}))
    getattr(room.workers, verb)("worker-1@host")
    assert (api.asked[0].method, api.asked[0].path) == ("POST", f"/v1/workers/worker-1%40host/{verb}")


def test_a_client_is_used_by_several_threads_and_closed_once(api):
    api.play(Say(200, job()))
    room = Backroom(api.url)
    room.job("j1")
    room.close()
    with pytest.raises(RuntimeError, match="closed"):
        room.job("j1")
