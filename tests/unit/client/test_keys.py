"""Keys: what the client asks, and what the command prints."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backroom.client import Conflict
from tests.unit.client.scripted import Say, problem
from tests.unit.client.test_commands import Shell

SECRET = "brk_abcdefghijkl_" + "a" * 32


def key(**changes: object) -> dict[str, object]:
    return {
        "id": "abcdefghijkl",
        "name": "shop",
        "prefix": "brk_abcdefghijkl",
        "roles": ["submit", "read"],
        "queues": ["mail"],
        "jobTypes": None,
        "source": "api",
        "createdAt": "2020-01-31T09:00:00.000Z",
        "createdBy": "open",
        "expiresAt": None,
        "lastUsedAt": None,
        **changes,
    }


CONFIGURED = key(id=None, name="ops", prefix=None, source="environment", createdAt=None, createdBy=None, queues=None)


@pytest.fixture
def backroom(api, monkeypatch, capsys) -> Shell:
    monkeypatch.setenv("BACKROOM_URL", api.url)
    return Shell(capsys)


def test_a_key_is_made_and_shown_nowhere_but_where_it_is_asked_for(api, room):
    api.play(Say(201, key(key=SECRET, expiresAt="2030-01-31T09:00:00.000Z")))
    end = datetime(2030, 1, 31, 9, tzinfo=UTC)
    made = room.keys.create("shop", ["submit", "read"], queues=["mail"], job_types=["a"], expires_at=end)
    assert (made.key, made.roles, made.queues, made.job_types) == (SECRET, ("submit", "read"), ("mail",), None)
    assert made.expires_at == end
    assert SECRET not in repr(made)
    assert api.asked[0].json == {
        "name": "shop",
        "roles": ["submit", "read"],
        "queues": ["mail"],
        "jobTypes": ["a"],
        "expiresAt": "2030-01-31T09:00:00+00:00",
    }


def test_making_a_key_is_not_tried_again_when_it_may_have_been_made(api, room):
    api.play(Say(503, problem(503, "store-unavailable")))
    with pytest.raises(Exception, match="store-unavailable"):
        room.keys.create("shop", ["submit"])
    assert len(api.asked) == 1


def test_keys_are_listed_page_by_page_read_and_revoked(api, room):
    api.play(
        Say(200, {"keys": [CONFIGURED], "next": "c"}),
        Say(200, {"keys": [key()], "next": None}),
        Say(200, key()),
        Say(204),
        Say(409, problem(409, "last-admin-key")),
    )
    assert [(one.id, one.name) for one in room.keys.list()] == [(None, "ops"), ("abcdefghijkl", "shop")]
    assert [asked.query for asked in api.asked] == [{"limit": ["200"]}, {"limit": ["200"], "cursor": ["c"]}]
    assert room.keys.get("abcdefghijkl").created_by == "open"
    room.keys.revoke("abcdefghijkl")
    with pytest.raises(Conflict) as refused:
        room.keys.revoke("abcdefghijkl")
    assert refused.value.code == "last-admin-key"
    assert [(asked.method, asked.path) for asked in api.asked[2:4]] == [
        ("GET", "/v1/keys/abcdefghijkl"),
        ("DELETE", "/v1/keys/abcdefghijkl"),
    ]


def test_the_command_prints_the_key_alone_so_that_a_script_can_keep_it(api, backroom):
    api.play(Say(201, key(key=SECRET)), Say(201, key(key=SECRET)))
    words = ["keys", "create", "shop", "--role", "submit", "--role", "read", "--queue", "mail"]
    assert backroom(*words) == 0
    assert backroom.out == f"{SECRET}\n"
    assert backroom.err.startswith("This is the key of shop, id abcdefghijkl. It is not shown again")
    assert api.asked[0].json == {"name": "shop", "roles": ["submit", "read"], "queues": ["mail"]}
    assert backroom(*words, "--json") == 0
    assert backroom.values == [key(key=SECRET)]


def test_the_command_lists_and_revokes_keys(api, backroom):
    api.play(Say(200, {"keys": [CONFIGURED, key()], "next": None}), Say(204), Say(404, problem(404, "not-found")))
    assert backroom("keys", "list") == 0
    assert backroom.lines[1].startswith("(environment)  ops   submit, read")
    assert backroom.lines[2].startswith("abcdefghijkl   shop  submit, read  queue mail")
    assert backroom("keys", "revoke", "abcdefghijkl", "b") == 3
    assert backroom.out == "abcdefghijkl  revoked\n"
    api.play(Say(200, {"keys": [], "next": None}))
    assert backroom("keys", "list") == 0
    assert backroom.err == "There are no keys: the stack is open to everybody who reaches it.\n"
