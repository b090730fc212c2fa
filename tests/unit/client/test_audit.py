"""The audit log: what the client asks, and what the command prints."""

from __future__ import annotations

import pytest

from tests.unit.client.scripted import Say
from tests.unit.client.test_commands import Shell


def entry(**changes: object) -> dict[str, object]:
    return {
        "at": "2020-01-31T09:00:00.000Z",
        "actor": "ops",
        "action": "pause_queue",
        "target": "/v1/queues/mail/pause",
        "outcome": "done",
        "status": 200,
        "requestId": "r1",
        "address": "127.0.0.1",
        **changes,
    }


@pytest.fixture
def backroom(api, monkeypatch, capsys) -> Shell:
    monkeypatch.setenv("BACKROOM_URL", api.url)
    return Shell(capsys)


def test_it_is_read_page_by_page_as_far_as_it_is_wanted(api, room):
    api.play(Say(200, {"entries": [entry(), entry()], "next": "c"}), Say(200, {"entries": [entry()], "next": "d"}))
    found = list(room.audit(actor="ops", action=["pause_queue", "resume_queue"], outcome="done", limit=3))
    assert [(one.actor, one.status) for one in found] == [("ops", 200)] * 3
    assert api.asked[1].query == {
        "actor": ["ops"],
        "action": ["pause_queue", "resume_queue"],
        "outcome": ["done"],
        "limit": ["3"],
        "cursor": ["c"],
    }


def test_the_command_shows_who_did_what(api, backroom):
    refused = entry(actor=None, outcome="refused", status=401)
    api.play(Say(200, {"entries": [entry(), refused], "next": None}), Say(200, {"entries": [refused], "next": None}))
    assert backroom("audit", "--actor", "ops") == 0
    assert backroom.lines[1].endswith("ops       done 200     pause_queue  /v1/queues/mail/pause  127.0.0.1")
    assert "(nobody)  refused 401" in backroom.lines[2]
    assert backroom("audit", "--json") == 0
    assert backroom.values == [refused]
