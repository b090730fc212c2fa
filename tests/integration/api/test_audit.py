"""The audit log: every act and every refusal, with who it was."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from tests.integration.api.service import TYPES, Api, pointers, problem

JOB = {"name": "anything", "data": 1}
KEYS = [
    {"name": "shop", "key": "submit-key-0123456789", "roles": ["submit"]},
    {"name": "ops", "key": "operate-key-012345678", "roles": ["operate"]},
    {"name": "boss", "key": "admin-key-01234567890", "roles": ["admin"]},
]
SHOP, OPS, BOSS = ({"Authorization": f"Bearer {key['key']}"} for key in KEYS)
PATIENCE = 60


@pytest.fixture
def api(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Api]:
    with connect(own_server.url, timeout=10) as client:
        Store(client, prefix="audit").job_types.publish("test-worker", TYPES, ttl_seconds=3600)
    settings = {"BACKROOM_API_KEYS": json.dumps(KEYS)}
    with Api(tmp_path, own_server.url, "audit", **settings) as api:
        yield api


def read(api: Api, query: str = "") -> list[dict[str, Any]]:
    """The log, newest first, without those who read it."""
    found, path = [], f"/v1/audit?limit=200{query}"
    while path:
        page = api.get(path, headers=BOSS)
        found += page.json()["entries"]
        path = page.links["next"]["url"] if page.links else ""
    return [entry for entry in found if entry["action"] != "read_audit" or entry["outcome"] == "refused"]


def read_when(api: Api, count: int, query: str = "") -> list[dict[str, Any]]:
    """The same, once there are so many entries."""
    deadline = time.monotonic() + PATIENCE
    while len(found := read(api, query)) < count:
        assert time.monotonic() < deadline, found
    assert len(found) == count
    return found


def test_what_was_done_is_written_down_before_it_is_answered(api: Api) -> None:
    api.post("/v1/queues/mail/pause", headers={**OPS, "X-Request-Id": "r-1"})
    [entry] = read(api)
    at = datetime.fromisoformat(entry.pop("at"))
    assert abs((datetime.now(UTC) - at).total_seconds()) < PATIENCE
    assert entry == {
        "actor": "ops",
        "action": "pause_queue",
        "target": "/v1/queues/mail/pause",
        "outcome": "done",
        "status": 200,
        "requestId": "r-1",
        "address": "127.0.0.1",
    }


def test_submissions_and_refusals_are_written_down_soon(api: Api) -> None:
    job = api.post("/v1/jobs", JOB, headers=SHOP).json()["id"]
    problem(api.post("/v1/jobs", {**JOB, "name": "unheard-of"}, headers=SHOP), 422, "invalid-input")
    problem(api.get("/v1/queues", headers=SHOP), 403, "forbidden")
    problem(api.get("/v1/queues"), 401, "unauthorized")
    problem(api.post("/nowhere", headers={"Authorization": "Bearer wrong"}), 401, "unauthorized")
    problem(api.call("DELETE", "/v1/jobs/nobody", headers=OPS), 404, "not-found")
    problem(api.get("/v1/audit", headers=OPS), 403, "forbidden")
    found = {
        (entry["actor"], entry["action"], entry["target"], entry["outcome"], entry["status"])
        for entry in read_when(api, 7)
    }
    assert found == {
        ("shop", "submit", f"/v1/jobs/{job}", "done", 202),
        ("shop", "submit", "/v1/jobs", "refused", 422),
        ("shop", "list_queues", "/v1/queues", "refused", 403),
        (None, "list_queues", "/v1/queues", "refused", 401),
        (None, "unknown", "/nowhere", "refused", 401),
        ("ops", "remove_job", "/v1/jobs/nobody", "refused", 404),
        ("ops", "read_audit", "/v1/audit", "refused", 403),
    }


def test_who_reads_what_is_for_admins_alone_is_written_down_and_other_reading_is_not(api: Api) -> None:
    api.get("/v1/queues", headers=BOSS)
    api.get("/v1/keys", headers=BOSS)
    api.get("/v1/audit", headers=BOSS)
    entries = api.get("/v1/audit", headers=BOSS).json()["entries"]
    assert [entry["action"] for entry in entries] == ["read_audit", "list_keys"]


def test_the_life_of_a_key_is_in_it_and_the_key_is_not(api: Api) -> None:
    made = api.post("/v1/keys", {"name": "guest", "roles": ["read"]}, headers=BOSS).json()
    api.call("DELETE", f"/v1/keys/{made['id']}", headers=BOSS)
    assert [(entry["action"], entry["target"]) for entry in read(api)] == [
        ("revoke_key", f"/v1/keys/{made['id']}"),
        ("create_key", f"/v1/keys/{made['id']}"),
    ]
    assert made["key"] not in api.get("/v1/audit", headers=BOSS).text


def test_pages_are_exact_while_more_is_written(api: Api) -> None:
    for number in range(9):
        api.post(f"/v1/queues/q{number}/pause", headers=OPS)
        problem(api.post(f"/v1/queues/q{number}/pause", headers=SHOP), 403, "forbidden")
    read_when(api, 18)
    found, path = [], "/v1/audit?limit=4&action=pause_queue"
    while path:
        page = api.get(path, headers=BOSS)
        found += [(entry["actor"], entry["target"]) for entry in page.json()["entries"]]
        path = page.links["next"]["url"] if page.links else ""
        api.post("/v1/queues/more/pause", headers=OPS)
    assert len(found) == len(set(found)) == 18


@pytest.mark.parametrize(
    ("query", "count"),
    [("&actor=ops", 2), ("&actor=shop", 1), ("&actor=shop&actor=ops", 3), ("&outcome=done", 2), ("&outcome=refused", 1),
     ("&action=resume_queue", 1), ("&action=resume_queue&actor=shop", 0)],
)  # fmt: skip
def test_filters(api: Api, query: str, count: int) -> None:
    api.post("/v1/queues/q/pause", headers=OPS)
    api.post("/v1/queues/q/resume", headers=OPS)
    api.post("/v1/queues/q/pause", headers=SHOP)
    read_when(api, 3)
    assert len(read(api, query)) == count


@pytest.mark.parametrize(
    ("query", "where"),
    [("cursor=nonsense", "/cursor"), ("cursor=WzEsMiwieCJd", "/cursor"), ("outcome=maybe", "/outcome"), ("x=1", "/x")],
)
def test_queries_that_are_none(api: Api, query: str, where: str) -> None:
    response = api.get(f"/v1/audit?{query}", headers=BOSS)
    problem(response, 422, "invalid-input")
    assert pointers(response) == [where]


def test_a_process_that_is_stopped_writes_what_is_left(api: Api, own_server: EmbeddedServer) -> None:
    for _ in range(20):
        api.post("/v1/jobs", JOB, headers=SHOP)
    api.session.close()
    api.ask_to_stop()
    assert api.wait_until_stopped() == 0
    with connect(own_server.url) as client:
        assert len(Store(client, prefix="audit").audit.page(limit=100).entries) == 20


def test_what_is_refused_while_the_store_is_away_is_written_down_when_it_is_back(
    api: Api, own_server: EmbeddedServer
) -> None:
    own_server.kill()
    for _ in range(3):
        problem(api.post("/v1/jobs", JOB, headers=SHOP, timeout=PATIENCE), 503, "store-unavailable")
    own_server.start()
    assert {entry["status"] for entry in read_when(api, 3)} == {503}
