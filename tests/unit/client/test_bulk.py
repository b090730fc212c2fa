"""Bulk actions: what the client asks, and what the command prints."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backroom.client import BulkAction, Conflict, InvalidInput, State
from tests.unit.client.scripted import DROP, Say, problem
from tests.unit.client.test_commands import Shell


def action(**changes: object) -> dict[str, object]:
    return {
        "id": "b1",
        "action": "retry",
        "state": "running",
        "total": 3,
        "succeeded": 1,
        "skipped": 0,
        "failed": 0,
        "filter": {"state": ["failed"]},
        "createdAt": "2020-01-31T09:00:00.000Z",
        "finishedAt": None,
        "detail": None,
        "links": {"self": "/v1/bulk-actions/b1", "abort": "/v1/bulk-actions/b1/abort"},
        **changes,
    }


DONE = {"state": "completed", "succeeded": 2, "skipped": 1, "finishedAt": "2020-01-31T09:00:01.000Z"}


@pytest.fixture
def backroom(api, monkeypatch, capsys) -> Shell:
    monkeypatch.setenv("BACKROOM_URL", api.url)
    return Shell(capsys)


def test_an_action_is_begun_on_the_jobs_that_filters_choose(api, room):
    api.play(Say(202, action()))
    since = datetime(2020, 1, 31, 9, tzinfo=UTC)
    begun = room.bulk.start(
        "retry",
        queue="mail",
        state=[State.FAILED, "expired"],
        user_id=("u1", "u2"),
        q="time out",
        since=since,
        reset_attempts=True,
    )
    assert api.asked[0].json == {
        "action": "retry",
        "filter": {
            "queue": "mail",
            "state": ["failed", "expired"],
            "userId": ["u1", "u2"],
            "q": "time out",
            "from": "2020-01-31T09:00:00+00:00",
        },
        "resetAttempts": True,
    }
    assert (begun.id, begun.state, begun.total, begun.done, begun.finished) == ("b1", "running", 3, 1, False)
    assert begun.created_at == since
    assert begun.filter == {"state": ["failed"]}


def test_an_action_on_named_jobs_is_begun_once_although_the_answer_is_lost(api, room):
    api.play(DROP, Say(202, action(filter=None)))
    assert room.bulk.start("cancel", ["a", "b"]).filter is None
    assert [asked.json for asked in api.asked] == [{"action": "cancel", "ids": ["a", "b"]}] * 2
    assert len({asked.headers["idempotency-key"] for asked in api.asked}) == 1


@pytest.mark.parametrize("which", [{}, {"ids": ["a"], "queue": "mail"}])
def test_jobs_are_named_or_chosen(room, which):
    with pytest.raises(ValueError, match="give ids or filters"):
        room.bulk.start("retry", **which)


def test_a_dry_run_counts(api, room):
    api.play(Say(200, {"action": "remove", "dryRun": True, "total": 5}), Say(422, problem(422, "invalid-input")))
    assert room.bulk.count("remove", tag="old") == 5
    assert api.asked[0].json == {"action": "remove", "filter": {"tag": "old"}, "dryRun": True}
    with pytest.raises(InvalidInput):
        room.bulk.count("remove", tag="old")


def test_actions_are_read_listed_and_aborted(api, room):
    api.play(
        Say(200, action(**DONE)),
        Say(200, {"bulkActions": [action()], "next": "c"}),
        Say(200, {"bulkActions": [action(id="b0")], "next": None}),
        Say(200, action(state="aborted")),
        Say(409, problem(409, "action-over")),
    )
    assert room.bulk.get("b1").finished
    assert [one.id for one in room.bulk.list()] == ["b1", "b0"]
    assert room.bulk.abort("b1").state == "aborted"
    with pytest.raises(Conflict):
        room.bulk.abort("b1")


def test_waiting_ends_with_the_action_or_with_the_time(api, room):
    seen: list[BulkAction] = []
    api.play(Say(200, action()), Say(200, action(**DONE)), Say(200, action()))
    assert room.bulk.wait("b1", report=seen.append).state == "completed"
    assert [one.state for one in seen] == ["running", "completed"]
    assert room.bulk.wait("b1", 0).state == "running"


def test_the_command_begins_an_action_and_prints_its_id(api, backroom):
    api.play(Say(202, action()))
    assert backroom("bulk", "retry", "--state", "failed", "--queue", "mail", "--queue", "post", "--reset-attempts") == 0
    assert api.asked[0].json == {
        "action": "retry",
        "filter": {"state": ["failed"], "queue": ["mail", "post"]},
        "resetAttempts": True,
    }
    assert backroom.out == "b1\n"
    assert backroom.err == "retry running: 1 of 3 jobs; see: backroom bulk show b1 --wait\n"


def test_the_command_waits_and_says_what_became_of_the_jobs(api, backroom):
    api.play(Say(202, action()), Say(200, action(**DONE)), Say(202, action()), Say(200, action(**DONE, failed=1)))
    assert backroom("bulk", "cancel", "j1", "j2", "--wait") == 0
    assert backroom.out == "retry completed: 2 of 3 jobs, 1 skipped\n"
    assert backroom("bulk", "cancel", "j1", "j2", "--wait", "--json") == 1
    assert backroom.values == [action(**DONE, failed=1)]


def test_the_command_shows_on_a_terminal_how_far_it_is(api, backroom, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    api.play(Say(202, action()), Say(200, action()), Say(200, action(**DONE)))
    assert backroom("bulk", "promote", "--tag", "old", "--wait") == 0
    assert "retry [#######.............]  33% 1 of 3 jobs" in backroom.err


def test_the_command_counts(api, backroom):
    api.play(*[Say(200, {"action": "remove", "dryRun": True, "total": 5})] * 2)
    assert backroom("bulk", "remove", "--search", "old", "--dry-run") == 0
    assert backroom.out == "5 jobs match.\n"
    assert backroom("bulk", "remove", "--search", "old", "--dry-run", "--json") == 0
    assert backroom.values == [{"action": "remove", "dryRun": True, "total": 5}]


def test_nothing_is_removed_unless_somebody_wants_it(api, backroom):
    api.play(Say(200, {"action": "remove", "dryRun": True, "total": 5}), Say(202, action()))
    assert backroom("bulk", "remove", "--state", "failed") == 2
    assert "say --yes" in backroom.err
    assert backroom("bulk", "remove", "--state", "failed", "--yes") == 0


@pytest.mark.parametrize("words", [[], ["j1", "--queue", "mail"]])
def test_the_command_wants_ids_or_filters(backroom, words):
    assert backroom("bulk", "cancel", *words) == 2
    assert "say which jobs" in backroom.err


def test_the_command_lists_shows_and_aborts(api, backroom):
    failed = action(state="failed", detail="a defect")
    api.play(
        Say(200, {"bulkActions": [action(), failed], "next": None}),
        Say(200, {"bulkActions": [], "next": None}),
        Say(200, {"bulkActions": [action()], "next": None}),
        Say(200, failed),
        Say(200, action()),
        Say(200, action()),
        Say(200, action(state="aborted")),
        Say(200, action(state="aborted")),
    )
    assert backroom("bulk", "list") == 0
    assert backroom.lines[1].split()[:6] == ["b1", "retry", "running", "3", "1", "0"]
    assert backroom("bulk", "list") == 0
    assert backroom.err == "There are no bulk actions.\n"
    assert backroom("bulk", "list", "--json") == 0
    assert backroom.values == [action()]
    assert backroom("bulk", "show", "b1") == 1
    assert backroom.out == "retry failed: 1 of 3 jobs, a defect\n"
    assert backroom("bulk", "show", "b1", "--wait-for", "0") == 5
    assert backroom("bulk", "abort", "b1") == 0
    assert backroom.out == "retry aborted: 1 of 3 jobs\n"
    assert backroom("bulk", "abort", "b1", "--json") == 0
