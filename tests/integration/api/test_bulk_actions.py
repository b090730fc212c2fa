"""Acting on many jobs in the background."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from backroom.store.bulk_runner import BulkRunner
from tests.integration.api.board import Board
from tests.integration.api.service import TYPES, Api, pointers, problem

PATIENCE = 60


def submit(api: Api, number: int = 1, **options: Any) -> list[str]:
    """Submit jobs. Returns their ids."""
    jobs = [{"name": "anything", "data": at, "options": options} for at in range(number)]
    return [job["id"] for job in api.post("/v1/jobs/bulk", {"jobs": jobs}).json()["jobs"]]


def fail(api: Api, board: Board, number: int, **options: Any) -> list[str]:
    """Submit jobs and fail them. Returns their ids."""
    ids = submit(api, number, **options)
    for _ in ids:
        board.fail(board.claim(), "no")
    return ids


def act(api: Api, action: str, **body: Any) -> dict[str, Any]:
    """Begin a bulk action."""
    response = api.post("/v1/bulk-actions", {"action": action, **body})
    assert response.status_code == 202, response.text
    begun: dict[str, Any] = response.json()
    assert response.headers["Location"] == begun["links"]["self"] == f"/v1/bulk-actions/{begun['id']}"
    return begun


def ended(api: Api, action: dict[str, Any]) -> dict[str, Any]:
    """The action once it is over."""
    deadline = time.monotonic() + PATIENCE
    while (found := api.get(action["links"]["self"]).json())["state"] == "running":
        assert time.monotonic() < deadline, found
    return dict(found)


def figures(action: dict[str, Any]) -> tuple[int, int, int, int]:
    return action["total"], action["succeeded"], action["skipped"], action["failed"]


def state(api: Api, job_id: str) -> str | None:
    found = api.get(f"/v1/jobs/{job_id}")
    return found.json()["state"] if found.ok else None


def test_all_failed_jobs_are_retried(api: Api, board: Board) -> None:
    ids = fail(api, board, 3, priority=5, attempts=1)
    [waiting] = submit(api)

    begun = act(api, "retry", filter={"state": "failed", "queue": ["misc"]})
    done = ended(api, begun)

    assert (begun["action"], begun["total"]) == ("retry", 3)
    assert (done["state"], figures(done), done["detail"]) == ("completed", (3, 3, 0, 0), None)
    assert done["filter"] == {"state": ["failed"], "queue": ["misc"]}
    assert done["createdAt"] < done["finishedAt"]
    assert [board.claim().id for _ in range(4)] == [waiting, *ids]
    assert api.get(f"/v1/jobs/{ids[0]}").json()["options"] == {"priority": 5, "attempts": 1}


def test_named_jobs_are_acted_on_and_the_others_counted(api: Api, board: Board) -> None:
    [failed], [delayed], [waiting] = fail(api, board, 1), submit(api, delay=60_000), submit(api)

    done = ended(api, act(api, "promote", ids=[failed, delayed, "nowhere", delayed]))

    assert (figures(done), done["filter"]) == ((3, 1, 1, 1), None)
    assert [state(api, job_id) for job_id in (failed, delayed, waiting)] == ["failed", "waiting", "waiting"]


def test_jobs_are_cancelled_and_removed(api: Api) -> None:
    ids = submit(api, 4, tags=["old"]) + submit(api, 2, tags=["old"], delay=60_000)
    [other] = submit(api)

    assert figures(ended(api, act(api, "cancel", filter={"tag": "old"}))) == (6, 6, 0, 0)
    assert {state(api, job_id) for job_id in ids} == {"cancelled"}
    assert figures(ended(api, act(api, "remove", filter={"state": ["cancelled"]}))) == (6, 6, 0, 0)
    assert [state(api, job_id) for job_id in (*ids, other)] == [None] * 6 + ["waiting"]


def test_a_dry_run_counts_and_does_nothing(api: Api) -> None:
    ids = submit(api, 3)
    body = {"action": "cancel", "filter": {"queue": "misc"}, "dryRun": True}

    response = api.post("/v1/bulk-actions", body)

    assert (response.status_code, response.json()) == (200, {"action": "cancel", "dryRun": True, "total": 3})
    named = api.post("/v1/bulk-actions", {"action": "cancel", "ids": [ids[0], ids[0], "x"], "dryRun": True})
    assert named.json()["total"] == 2
    assert {state(api, job_id) for job_id in ids} == {"waiting"}
    assert api.get("/v1/bulk-actions").json() == {"bulkActions": [], "next": None}


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, ["/action"]),
        ({"action": "retry"}, [""]),
        ({"action": "retry", "ids": ["a"], "filter": {"state": "failed"}}, [""]),
        ({"action": "retry", "filter": {}}, ["/filter"]),
        ({"action": "retry", "filter": {"q": "  "}}, ["/filter/q"]),
        ({"action": "retry", "filter": {"queue": []}}, ["/filter/queue"]),
        ({"action": "retry", "filter": {"queue": None}}, ["/filter"]),
        ({"action": "retry", "filter": {"state": "broken"}}, ["/filter/state/0"]),
        ({"action": "retry", "filter": {"state": "failed", "sort": "createdAt"}}, ["/filter/sort"]),
        ({"action": "retry", "filter": {"from": 5}}, ["/filter/from"]),
        ({"action": "retry", "ids": []}, ["/ids"]),
        ({"action": "retry", "ids": ["a b"]}, ["/ids/0"]),
        ({"action": "retry", "ids": ["a"] * 1001}, ["/ids"]),
        ({"action": "pause", "ids": ["a"]}, ["/action"]),
        ({"action": "cancel", "ids": ["a"], "resetAttempts": True}, [""]),
    ],
)
def test_bodies_that_say_too_little_or_too_much(api: Api, body: dict[str, Any], places: list[str]) -> None:
    response = api.post("/v1/bulk-actions", body)

    problem(response, 422, "invalid-input")
    assert pointers(response) == places
    assert api.get("/v1/bulk-actions").json()["bulkActions"] == []


def test_a_retry_may_give_all_tries_again(api: Api, board: Board) -> None:
    [job_id] = fail(api, board, 1)

    ended(api, act(api, "retry", ids=[job_id], resetAttempts=True))

    assert api.get(f"/v1/jobs/{job_id}").json()["attemptsMade"] == 0


def test_an_idempotency_key_begins_an_action_once(api: Api) -> None:
    [job_id] = submit(api)
    body, headers = {"action": "cancel", "ids": [job_id]}, {"Idempotency-Key": "cancel-1"}

    first, again = (api.post("/v1/bulk-actions", body, headers=headers) for _ in range(2))

    assert first.json()["id"] == again.json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(api.get("/v1/bulk-actions").json()["bulkActions"]) == 1


def test_actions_are_listed_in_pages(api: Api) -> None:
    ids = [act(api, "cancel", ids=["nowhere"])["id"] for _ in range(3)]

    first = api.get("/v1/bulk-actions?limit=2")
    second = api.get(first.links["next"]["url"])

    assert [each["id"] for each in (*first.json()["bulkActions"], *second.json()["bulkActions"])] == ids[::-1]
    assert second.json()["next"] is None
    problem(api.get("/v1/bulk-actions?cursor=x"), 422, "invalid-input")


def test_an_action_is_aborted_while_it_is_at_work(api: Api, store: Store) -> None:
    submit(api, 1000)
    # Nobody makes a step while somebody else has the action.
    begun = store.bulk.start("mine", "cancel", ["nowhere", *submit(api, 1)])
    store.redis.hset(store.keys.bulk(begun.id), mapping={"holder": "me", "heldUntil": 2**52})

    response = api.post("/v1/bulk-actions/mine/abort")

    assert (response.status_code, response.json()["state"], response.json()["succeeded"]) == (200, "aborted", 0)
    assert api.post("/v1/bulk-actions/mine/abort").json() == response.json()
    done = ended(api, act(api, "cancel", ids=["nowhere"]))
    problem(api.post(f"{done['links']['self']}/abort"), 409, "action-over")


def test_an_action_that_is_not_there(api: Api) -> None:
    problem(api.get("/v1/bulk-actions/nothing"), 404, "not-found")
    problem(api.get("/v1/bulk-actions/a:jobs"), 404, "not-found")
    problem(api.post("/v1/bulk-actions/nothing/abort"), 404, "not-found")


def test_a_bound_key_acts_on_its_own_jobs_and_sees_its_own_actions(
    server: EmbeddedServer, tmp_path: Path, key_prefix: str
) -> None:
    keys = [
        {"name": "ops", "key": "operate-key-012345678", "roles": ["operate"]},
        {"name": "narrow", "key": "narrow-key-0123456789", "roles": ["operate"], "queues": ["misc"]},
    ]
    ops, narrow = ({"Authorization": f"Bearer {key['key']}"} for key in keys)
    with (
        connect(server.url) as client,
        Api(tmp_path, server.url, key_prefix, BACKROOM_API_KEYS=json.dumps(keys)) as api,
    ):
        Store(client, prefix=key_prefix).job_types.publish("test-worker", TYPES, ttl_seconds=3600)
        api.session.headers.update(ops)
        [own] = submit(api)
        other = api.post("/v1/jobs", {"name": "anything", "data": 1, "queue": "other"}).json()["id"]
        theirs = act(api, "promote", filter={"queue": "other"})
        api.session.headers.update(narrow)

        refused = api.post("/v1/bulk-actions", {"action": "cancel", "filter": {"queue": "other"}})
        named = ended(api, act(api, "cancel", ids=[own, other]))
        everything = ended(api, act(api, "remove", filter={"name": "anything"}))

        problem(refused, 403, "forbidden")
        assert figures(named) == (2, 1, 0, 1)
        assert figures(everything) == (1, 1, 0, 0)
        problem(api.get(theirs["links"]["self"]), 404, "not-found")
        problem(api.post(theirs["links"]["abort"]), 404, "not-found")
        assert [each["id"] for each in api.get("/v1/bulk-actions").json()["bulkActions"]] == [
            everything["id"],
            named["id"],
        ]
        api.session.headers.update(ops)
        assert state(api, other) == "waiting"
        assert len(api.get("/v1/bulk-actions").json()["bulkActions"]) == 3


def test_an_action_goes_on_when_the_processes_that_work_on_it_are_killed(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    with connect(own_server.url, timeout=10) as client, Api(tmp_path, own_server.url, "killed") as api:
        store = Store(client, prefix="killed")
        store.job_types.publish("test-worker", TYPES, ttl_seconds=3600)
        ids = [job_id for _ in range(5) for job_id in submit(api, 1000)]
        begun = act(api, "cancel", filter={"queue": "misc"})
        deadline = time.monotonic() + PATIENCE
        while store.bulk.get(begun["id"]).succeeded == 0:
            assert time.monotonic() < deadline

        for process in psutil.Process(api.pid).children():
            os.kill(process.pid, signal.SIGKILL)
        left = store.bulk.get(begun["id"])
        while store.bulk.get(begun["id"]).state == "running":
            assert time.monotonic() < deadline

        assert left.state == "running"
        assert (store.bulk.get(begun["id"]).succeeded, len(ids)) == (5000, 5000)
        ends = [event for event in store.events.read("0-0", count=100_000) if event.type == "cancelled"]
        assert len(ends) == len({event.job_id for event in ends})


def test_an_action_goes_on_without_the_api(store: Store) -> None:
    runner = BulkRunner(store)
    begun = store.bulk.start("alone", "cancel", ["nowhere"])

    runner.nudge()
    deadline = time.monotonic() + PATIENCE
    while store.bulk.get(begun.id).state == "running":
        assert time.monotonic() < deadline
    runner.stop()

    assert store.bulk.get(begun.id).failed == 1
