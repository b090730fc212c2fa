"""Webhooks: what the client asks, and what the command prints."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backroom.client import Conflict, Unavailable
from tests.unit.client.scripted import Say, job, problem
from tests.unit.client.test_commands import Shell

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://shop.example/hooks"


def endpoint(**changes: object) -> dict[str, object]:
    return {
        "id": "e1",
        "url": URL,
        "events": ["completed", "failed"],
        "description": "the shop",
        "enabled": True,
        "disabledReason": None,
        "disabledAt": None,
        "failingSince": None,
        "createdAt": "2020-01-31T09:00:00.000Z",
        "oldSecretUntil": None,
        "pending": 2,
        "dropped": 0,
        **changes,
    }


def delivery(**changes: object) -> dict[str, object]:
    return {
        "id": "d1",
        "endpoint": "e1",
        "url": URL,
        "type": "job.completed",
        "jobId": "j1",
        "webhookId": "msg_1",
        "state": "pending",
        "at": "2020-01-31T09:00:00.000Z",
        "attemptsMade": 1,
        "attempts": [{"at": "2020-01-31T09:00:00.000Z", "status": 500, "durationMs": 12, "error": "answered 500"}],
        "nextAttemptAt": "2020-01-31T09:00:05.000Z",
        **changes,
    }


def secret(**changes: object) -> dict[str, object]:
    return {"secret": SECRET, "oldSecret": None, "oldSecretUntil": None, **changes}


@pytest.fixture
def backroom(api, monkeypatch, capsys) -> Shell:
    monkeypatch.setenv("BACKROOM_URL", api.url)
    return Shell(capsys)


def test_an_endpoint_is_made_and_its_secret_shown_nowhere_but_where_it_is_asked_for(api, room):
    api.play(Say(201, endpoint(secret=SECRET)))
    made = room.webhooks.create(URL, ["completed", "failed"], description="the shop")
    assert (made.id, made.secret, made.events, made.pending) == ("e1", SECRET, ("completed", "failed"), 2)
    assert SECRET not in repr(made)
    assert api.asked[0].json == {"url": URL, "events": ["completed", "failed"], "description": "the shop"}


def test_making_an_endpoint_is_not_tried_again_when_it_may_have_been_made(api, room):
    api.play(Say(503, problem(503, "store-unavailable")))
    with pytest.raises(Unavailable):
        room.webhooks.create(URL, ["completed"])
    assert len(api.asked) == 1


def test_endpoints_are_listed_read_changed_and_removed(api, room):
    api.play(
        Say(200, {"webhooks": [endpoint()]}),
        Say(200, endpoint(enabled=False, disabledReason="failing", failingSince="2020-01-31T09:00:00.000Z")),
        Say(200, endpoint(events=["failed"])),
        Say(204),
    )
    assert [one.url for one in room.webhooks.list()] == [URL]
    found = room.webhooks.get("e1")
    assert (found.enabled, found.disabled_reason, found.secret) == (False, "failing", None)
    assert found.failing_since == datetime(2020, 1, 31, 9, tzinfo=UTC)
    assert room.webhooks.update("e1", events=["failed"], enabled=True).events == ("failed",)
    room.webhooks.remove("e1")
    assert api.asked[2].json == {"events": ["failed"], "enabled": True}
    assert [(asked.method, asked.path) for asked in api.asked] == [
        ("GET", "/v1/webhooks"),
        ("GET", "/v1/webhooks/e1"),
        ("PATCH", "/v1/webhooks/e1"),
        ("DELETE", "/v1/webhooks/e1"),
    ]


def test_secrets_are_read_and_rotated(api, room):
    old = secret(oldSecret="whsec_old", oldSecretUntil="2020-02-01T09:00:00.000Z")
    api.play(Say(200, secret()), Say(200, old), Say(200, old))
    assert room.webhooks.secret().secret == SECRET
    rotated = room.webhooks.rotate_secret()
    assert rotated.old_secret == "whsec_old"
    assert rotated.old_secret_until is not None
    assert SECRET not in repr(rotated)
    room.webhooks.rotate_secret("e1")
    assert [asked.path for asked in api.asked] == [
        "/v1/webhooks/secret",
        "/v1/webhooks/secret/rotate",
        "/v1/webhooks/e1/rotate-secret",
    ]


def test_deliveries_are_walked_page_by_page_and_made_again(api, room):
    api.play(
        Say(200, {"deliveries": [delivery()], "next": "7"}),
        Say(200, {"deliveries": [delivery(id="d0", endpoint=None)], "next": None}),
        Say(200, {"deliveries": [], "next": None}),
        Say(200, delivery()),
        Say(202, delivery()),
        Say(409, problem(409, "not-deliverable")),
    )
    found = list(room.webhooks.deliveries("e1"))
    assert [(one.id, one.endpoint) for one in found] == [("d1", "e1"), ("d0", None)]
    [attempt] = found[0].attempts
    assert (attempt.status, attempt.duration, attempt.error) == (500, 0.012, "answered 500")
    assert list(room.webhooks.deliveries()) == []
    assert room.webhooks.delivery("d1").webhook_id == "msg_1"
    assert room.webhooks.redeliver("d1").state == "pending"
    with pytest.raises(Conflict):
        room.webhooks.redeliver("d1")
    assert [asked.path for asked in api.asked[:5]] == [
        "/v1/webhooks/e1/deliveries",
        "/v1/webhooks/e1/deliveries",
        "/v1/webhooks/deliveries",
        "/v1/webhooks/deliveries/d1",
        "/v1/webhooks/deliveries/d1/redeliver",
    ]


def test_deliveries_are_asked_for_by_their_state(api, room, backroom):
    none = Say(200, {"deliveries": [], "next": None})
    api.play(none, none, none)
    assert list(room.webhooks.deliveries("e1", state="failed")) == []
    assert list(room.webhooks.deliveries(state=["failed", "pending"])) == []
    assert backroom("webhooks", "deliveries", "e1", "--state", "pending") == 0
    assert [asked.query.get("state") for asked in api.asked] == [["failed"], ["failed", "pending"], ["pending"]]


def test_the_command_prints_the_secret_alone_so_that_a_script_can_keep_it(api, backroom):
    api.play(Say(201, endpoint(secret=SECRET)), Say(201, endpoint(secret=SECRET)), Say(200, secret()))
    assert backroom("webhooks", "add", URL) == 0
    assert backroom.out == f"{SECRET}\n"
    assert backroom.err.startswith("This is the secret of the endpoint e1")
    assert api.asked[0].json == {"url": URL, "events": ["completed", "failed"]}
    assert backroom("webhooks", "add", URL, "--event", "failed", "--description", "x", "--json") == 0
    assert backroom.values == [endpoint(secret=SECRET)]
    assert api.asked[1].json == {"url": URL, "events": ["failed"], "description": "x"}
    assert backroom("webhooks", "secret") == 0
    assert backroom.out == f"{SECRET}\n"


def test_the_command_lists_shows_changes_and_removes_endpoints(api, backroom):
    api.play(
        Say(200, {"webhooks": [endpoint(), endpoint(id="e2", enabled=False, disabledReason="gone")]}),
        Say(200, endpoint()),
        Say(200, endpoint(enabled=False, disabledReason="by-hand")),
        Say(204),
        Say(404, problem(404, "not-found")),
    )
    assert backroom("webhooks", "list") == 0
    assert backroom.lines[1].startswith("e1  enabled")
    assert backroom.lines[2].startswith("e2  gone")
    assert backroom("webhooks", "show", "e1") == 0
    assert URL in backroom.out
    assert backroom("webhooks", "update", "e1", "--disable") == 0
    assert "by-hand" in backroom.out
    assert api.asked[2].json == {"enabled": False}
    assert backroom("webhooks", "rm", "e1", "e3") == 3
    assert backroom.out == "e1  removed\n"


def test_the_command_shows_and_repeats_deliveries(api, backroom):
    api.play(
        Say(200, {"deliveries": [delivery()], "next": None}),
        Say(200, {"deliveries": [], "next": None}),
        Say(202, delivery()),
        Say(200, secret(oldSecret="whsec_old", oldSecretUntil="2020-02-01T09:00:00.000Z")),
    )
    assert backroom("webhooks", "deliveries", "e1") == 0
    assert backroom.lines[1].startswith("d1  pending  job.completed  j1")
    assert "answered 500" in backroom.lines[1]
    assert backroom("webhooks", "deliveries") == 0
    assert backroom.err == "Nothing was told yet.\n"
    assert backroom("webhooks", "redeliver", "d1") == 0
    assert backroom.out == "d1  is delivered again\n"
    assert backroom("webhooks", "rotate-secret", "e1") == 0
    assert backroom.out == f"{SECRET}\n"
    assert backroom.err.startswith("The secret before it signs as well until")


def test_a_job_is_submitted_with_a_webhook_of_its_own(api, backroom):
    api.play(Say(202, job()), Say(202, job()))
    assert backroom("submit", "heavy-task", "--webhook", URL) == 0
    assert api.asked[0].json["options"] == {"webhook": {"url": URL, "events": ["completed", "failed"]}}
    words = ("--webhook-event", "cancelled", "--webhook-event", "expired")
    assert backroom("submit", "heavy-task", "--webhook", URL, *words) == 0
    assert api.asked[1].json["options"] == {"webhook": {"url": URL, "events": ["cancelled", "expired"]}}
    assert backroom("submit", "heavy-task", "--webhook-event", "failed") == 2
