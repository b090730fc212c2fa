"""API keys over HTTP: the first one closes the stack, each is shown once, and a revoked one is refused everywhere."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import requests

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from tests.integration.api.service import TYPES, Api, pointers, problem

JOB = {"name": "anything", "data": 1}
ADMIN = {"name": "boss", "roles": ["admin"]}
CONFIGURED = {"name": "configured", "key": "a-key-of-the-environment", "roles": ["admin"]}
PATIENCE = 60


SETTINGS = {"BACKROOM_API_KEY_FRESH_SECONDS": "0.2"}
ROOT = CONFIGURED["key"]


@pytest.fixture(scope="module")
def store(server: EmbeddedServer) -> Iterator[Store]:
    """The store of the API that has an admin key in its environment."""
    with connect(server.url, timeout=10) as client:
        store = Store(client, prefix=f"keys-{uuid4().hex[:8]}")
        store.job_types.publish("test-worker", TYPES, ttl_seconds=3600)
        yield store


@pytest.fixture(scope="module")
def api(server: EmbeddedServer, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API of two processes, with an admin key in its environment."""
    keys = json.dumps([CONFIGURED])
    folder = tmp_path_factory.mktemp("keys")
    with Api(folder, server.url, store.keys.prefix, BACKROOM_API_KEYS=keys, **SETTINGS) as api:
        yield api


@pytest.fixture
def name() -> str:
    """A name that no other key has."""
    return f"n-{uuid4().hex[:8]}"


@pytest.fixture
def open_api(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Api]:
    """An API of two processes without keys, on a store of its own."""
    with Api(tmp_path, own_server.url, "keys", **SETTINGS) as api:
        yield api


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def make(api: Api, body: dict[str, Any], by: str | None = ROOT) -> dict[str, Any]:
    response = api.post("/v1/keys", body, headers={} if by is None else bearer(by))
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"/v1/keys/{made['id']}"
    return made


def until_refused(api: Api, key: str | None, status: int = 401) -> None:
    """Ask on connections of their own, which reach any process, until all of many answers are this refusal."""
    deadline, in_a_row = time.monotonic() + PATIENCE, 0
    while in_a_row < 20:
        assert time.monotonic() < deadline, "it is still let in"
        response = requests.get(f"{api.url}/v1/queues", headers={} if key is None else bearer(key), timeout=PATIENCE)
        in_a_row = in_a_row + 1 if response.status_code == status else 0


def test_the_first_key_closes_the_stack_and_lets_its_holder_in(open_api: Api) -> None:
    api = open_api
    for body, where in (
        ({"name": "shop", "roles": ["submit"]}, ["/roles"]),
        ({"name": "shop", "roles": ["operate", "read"]}, ["/roles"]),
        ({**ADMIN, "expiresAt": "2099-01-01T00:00:00Z"}, ["/expiresAt"]),
    ):
        response = api.post("/v1/keys", body)
        assert problem(response, 422, "invalid-input")["errors"][0]["code"] == "first-key"
        assert pointers(response) == where
    assert api.get("/v1/keys").json() == {"keys": [], "next": None}

    boss = make(api, ADMIN, by=None)
    assert boss["key"].startswith(boss["prefix"] + "_")
    assert (boss["createdBy"], boss["roles"], boss["source"], boss["lastUsedAt"]) == ("open", ["admin"], "api", None)
    for _ in range(20):  # whichever process answers, and at once
        with api.session:
            assert api.get("/v1/keys", headers=bearer(boss["key"])).status_code == 200
    until_refused(api, None)
    problem(api.post("/v1/keys", {"name": "me", "roles": ["admin"]}), 401, "unauthorized")
    assert api.get("/livez", headers=bearer("wrong")).status_code == 200
    assert api.get("/readyz").status_code == 200


def test_the_last_admin_key_cannot_be_revoked(open_api: Api) -> None:
    api = open_api
    boss = make(api, ADMIN, by=None)
    make(api, {"name": "guest", "roles": ["admin"], "expiresAt": "2099-01-01T00:00:00Z"}, boss["key"])
    problem(api.call("DELETE", f"/v1/keys/{boss['id']}", headers=bearer(boss["key"])), 409, "last-admin-key")
    second = make(api, {"name": "second", "roles": ["admin"]}, boss["key"])
    assert api.call("DELETE", f"/v1/keys/{boss['id']}", headers=bearer(boss["key"])).status_code == 204
    until_refused(api, boss["key"])
    problem(api.call("DELETE", f"/v1/keys/{second['id']}", headers=bearer(second["key"])), 409, "last-admin-key")


def test_a_store_that_was_emptied_leaves_no_door_open(open_api: Api, own_server: EmbeddedServer) -> None:
    boss = make(open_api, ADMIN, by=None)["key"]
    for process in psutil.Process(open_api.pid).children():
        # Each of the two, as one that nobody has asked would not know that there were keys: the other one stands still.
        process.suspend()
        until_refused(open_api, None)
        process.resume()
    with connect(own_server.url) as client:
        client.flushdb()
    until_refused(open_api, boss)
    problem(open_api.get("/v1/queues"), 401, "unauthorized")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["/name", "/roles"]),
        ({**ADMIN, "name": "a b"}, ["/name"]),
        ({**ADMIN, "name": ""}, ["/name"]),
        ({**ADMIN, "roles": []}, ["/roles"]),
        ({**ADMIN, "roles": ["root"]}, ["/roles/0"]),
        ({**ADMIN, "queues": ["q"]}, ["/queues"]),
        ({**ADMIN, "jobTypes": ["t"]}, ["/jobTypes"]),
        ({"name": "n", "roles": ["submit"], "queues": []}, ["/queues"]),
        ({"name": "n", "roles": ["submit"], "queues": ["a/b"]}, ["/queues/0"]),
        ({"name": "n", "roles": ["submit"], "expiresAt": "2020-01-01T00:00:00Z"}, ["/expiresAt"]),
        ({"name": "n", "roles": ["submit"], "expiresAt": "9999-12-31T23:59:59-14:00"}, ["/expiresAt"]),
        ({"name": "n", "roles": ["submit"], "expiresAt": "0001-01-01T00:00:00+14:00"}, ["/expiresAt"]),
        ({"name": "n", "roles": ["submit"], "expiresAt": 5}, ["/expiresAt"]),
        ({**ADMIN, "key": "my-own-key-0123456789"}, ["/key"]),
    ],
)
def test_keys_that_are_not_valid(api: Api, body: object, where: list[str]) -> None:
    response = api.post("/v1/keys", body, headers=bearer(ROOT))
    problem(response, 422, "invalid-input")
    assert pointers(response) == where


def test_a_key_may_do_what_its_roles_and_lists_say(api: Api, name: str) -> None:
    wanted = {"name": name, "roles": ["submit"], "queues": ["misc", "misc"], "jobTypes": ["anything"]}
    shop = make(api, wanted)
    assert (shop["queues"], shop["jobTypes"], shop["createdBy"]) == (["misc"], ["anything"], "configured")
    assert api.post("/v1/jobs", JOB, headers=bearer(shop["key"])).status_code == 202
    problem(api.post("/v1/jobs", {**JOB, "queue": "other"}, headers=bearer(shop["key"])), 403, "forbidden")
    problem(api.get("/v1/queues", headers=bearer(shop["key"])), 403, "forbidden")
    problem(api.get("/v1/keys", headers=bearer(shop["key"])), 403, "forbidden")
    problem(api.call("DELETE", f"/v1/keys/{shop['id']}", headers=bearer(shop["key"])), 403, "forbidden")


def test_a_revoked_key_is_refused_by_every_process_soon(api: Api, name: str) -> None:
    shop = make(api, {"name": name, "roles": ["read"]})
    assert api.get("/v1/queues", headers=bearer(shop["key"])).status_code == 200
    assert api.call("DELETE", f"/v1/keys/{shop['id']}", headers=bearer(ROOT)).status_code == 204
    until_refused(api, shop["key"])
    problem(api.call("DELETE", f"/v1/keys/{shop['id']}", headers=bearer(ROOT)), 404, "not-found")
    problem(api.get(f"/v1/keys/{shop['id']}", headers=bearer(ROOT)), 404, "not-found")
    assert make(api, {"name": name, "roles": ["read"]})["key"] != shop["key"]


def test_a_key_ends_when_its_time_is_over(api: Api, name: str) -> None:
    end = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()
    guest = make(api, {"name": name, "roles": ["read"], "expiresAt": end})
    assert guest["expiresAt"].endswith("Z")
    until_refused(api, guest["key"])


def test_a_name_belongs_to_one_key_however_many_ask_for_it(api: Api, name: str) -> None:
    body = {"name": name, "roles": ["submit"]}

    def ask(_: int) -> int:
        return requests.post(f"{api.url}/v1/keys", json=body, headers=bearer(ROOT), timeout=PATIENCE).status_code

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(ask, range(10))) == [201] + [409] * 9
    for taken in (name, "configured"):
        problem(api.post("/v1/keys", {**body, "name": taken}, headers=bearer(ROOT)), 409, "name-taken")


def test_keys_are_listed_by_creation_page_by_page(api: Api, name: str) -> None:
    names = [make(api, {"name": f"{name}-{number}", "roles": ["read"]})["name"] for number in range(6)]
    found: list[tuple[str, str]] = []
    path: str | None = "/v1/keys?limit=3"
    while path:
        page = api.get(path, headers=bearer(ROOT))
        found += [(key["name"], key["source"]) for key in page.json()["keys"]]
        path = page.links["next"]["url"] if "next" in page.links else None
        assert (path is None) == (page.json()["next"] is None)
    assert found[0] == ("configured", "environment")
    assert found[-6:] == [(each, "api") for each in names]
    problem(api.get("/v1/keys?cursor=nonsense", headers=bearer(ROOT)), 422, "invalid-input")


def test_when_a_key_was_used_is_told(api: Api, name: str) -> None:
    shop = make(api, {"name": name, "roles": ["submit"]})
    assert api.get(f"/v1/keys/{shop['id']}", headers=bearer(ROOT)).json()["lastUsedAt"] is None
    api.post("/v1/jobs", JOB, headers=bearer(shop["key"]))
    used = api.get(f"/v1/keys/{shop['id']}", headers=bearer(ROOT)).json()["lastUsedAt"]
    assert datetime.now(UTC) - datetime.fromisoformat(used) < timedelta(seconds=PATIENCE)


def test_a_key_is_kept_nowhere(api: Api, store: Store, name: str) -> None:
    headers = {**bearer(ROOT), "Idempotency-Key": "k"}
    shop = api.post("/v1/keys", {"name": name, "roles": ["submit"]}, headers=headers).json()
    api.post("/v1/jobs", JOB, headers=bearer(shop["key"]))
    secret = shop["key"].rpartition("_")[2]
    for path in ("/v1/keys", f"/v1/keys/{shop['id']}"):
        assert secret not in api.get(path, headers=bearer(ROOT)).text
    kept = "".join(
        str(store.redis.execute_command("DUMP", key, NEVER_DECODE=""))
        for key in store.redis.scan_iter(f"{store.keys.prefix}:*")
    )
    for text in (secret, ROOT):
        assert text not in api.log
        assert text not in kept


def test_while_the_store_is_away_keys_are_answered_503_and_not_401(own_server: EmbeddedServer, tmp_path: Path) -> None:
    keys = json.dumps([CONFIGURED])
    with Api(tmp_path, own_server.url, "keys", BACKROOM_API_KEYS=keys, BACKROOM_API_PROCESSES="1", **SETTINGS) as api:
        shop = make(api, {"name": "shop", "roles": ["operate"]})["key"]
        assert api.get("/v1/queues", headers=bearer(shop)).status_code == 200
        own_server.kill()
        for key in (ROOT, shop, "brk_aaaaaaaaaaaa_" + "a" * 32):
            problem(api.get("/v1/queues", headers=bearer(key), timeout=PATIENCE), 503, "store-unavailable")
            problem(api.post("/v1/jobs", JOB, headers=bearer(key), timeout=PATIENCE), 503, "store-unavailable")
        problem(api.get("/v1/queues"), 401, "unauthorized")
        problem(api.get("/v1/queues", headers=bearer("not-one-of-this-stack")), 401, "unauthorized")


def test_an_api_that_has_never_reached_the_store_lets_nobody_in(own_server: EmbeddedServer, tmp_path: Path) -> None:
    own_server.kill()
    with Api(tmp_path, own_server.url, "keys") as api:
        problem(api.get("/openapi.json"), 503, "store-unavailable")
        assert api.get("/livez").status_code == 200
        own_server.start()
        deadline = time.monotonic() + PATIENCE
        while api.get("/openapi.json").status_code != 200:
            assert time.monotonic() < deadline
