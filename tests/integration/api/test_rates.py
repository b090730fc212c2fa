"""Rate limits of requests."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from tests.integration.api.service import TYPES, Api, problem

KEYS = json.dumps([{"name": name, "key": f"key-of-{name}-0123456789", "roles": ["admin"]} for name in "ab"])
JOB = {"name": "anything", "data": 1}
A = {"Authorization": "Bearer key-of-a-0123456789"}
B = {"Authorization": "Bearer key-of-b-0123456789"}


@pytest.fixture
def store(own_server: EmbeddedServer) -> Iterator[Store]:
    with connect(own_server.url, timeout=10) as client:
        store = Store(client, prefix="rates")
        store.job_types.publish("test-worker", TYPES, ttl_seconds=3600)
        yield store


@pytest.fixture
def api(own_server: EmbeddedServer, store: Store, tmp_path: Path) -> Iterator[Api]:
    """An API of two processes that allows three requests and two submissions in an hour."""
    settings = {
        "BACKROOM_API_KEYS": KEYS,
        "BACKROOM_API_RATE_LIMIT_REQUESTS": "3",
        "BACKROOM_API_RATE_LIMIT_SUBMISSIONS": "2",
        "BACKROOM_API_RATE_LIMIT_SECONDS": "3600",
    }
    with Api(tmp_path, own_server.url, "rates", **settings) as api:
        yield api


def left(response: requests.Response) -> int:
    """What is left by the RateLimit field, which must be well-formed."""
    found = re.fullmatch(r'"(requests|submissions)";r=(\d+);t=(\d+)', response.headers["RateLimit"])
    assert found
    assert 3500 < int(found[3]) <= 3600
    return int(found[2])


def test_each_key_has_a_budget_and_is_told_what_is_left_of_it(api: Api) -> None:
    for number in (2, 1, 0):
        with api.session:  # whichever process answers
            response = api.get("/v1/queues", headers=A)
        assert (response.status_code, left(response)) == (200, number)
        assert response.headers["RateLimit-Policy"] == '"requests";q=3;w=3600'
    refused = api.get("/v1/queues", headers=A)
    problem(refused, 429, "too-many-requests")
    assert left(refused) == 0
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    assert api.get("/v1/queues", headers=B).status_code == 200


def test_submissions_have_a_budget_of_their_own_and_refused_ones_store_nothing(api: Api, store: Store) -> None:
    for _ in range(4):
        api.get("/v1/queues", headers=A)
    for _ in range(2):
        response = api.post("/v1/jobs", JOB, headers=A)
        assert (response.status_code, response.headers["RateLimit-Policy"]) == (202, '"submissions";q=2;w=3600')
    problem(api.post("/jobs/enqueue", {"userId": "u", "payload": {}}, headers=A), 429, "too-many-requests")
    problem(api.post("/v1/jobs/bulk", {"jobs": [JOB]}, headers=A), 429, "too-many-requests")
    assert sum(sum(queue.counts.values()) for queue in store.queues.list()) == 2


def test_a_window_that_has_ended_begins_anew(api: Api, store: Store) -> None:
    for _ in range(4):
        refused = api.get("/v1/queues", headers=A)
    problem(refused, 429, "too-many-requests")
    for key in store.redis.scan_iter("rates:spent:*"):
        store.redis.pexpire(key, 1)
    while store.redis.keys("rates:spent:*"):
        pass
    assert left(api.get("/v1/queues", headers=A)) == 2


def test_probes_and_those_without_a_key_use_up_nothing(api: Api) -> None:
    for _ in range(5):
        assert api.get("/livez").status_code == 200
        assert "RateLimit" not in api.get("/readyz").headers
        problem(api.get("/v1/queues"), 401, "unauthorized")
    assert left(api.get("/v1/queues", headers=A)) == 2


def test_while_the_store_is_away_nothing_is_limited(api: Api, own_server: EmbeddedServer) -> None:
    own_server.kill()
    for _ in range(4):
        assert api.get("/openapi.json", headers=A).status_code == 200


def test_without_keys_addresses_are_counted(own_server: EmbeddedServer, store: Store, tmp_path: Path) -> None:
    with Api(tmp_path, own_server.url, "rates", BACKROOM_API_RATE_LIMIT_REQUESTS="1") as api:
        assert api.get("/v1/queues").headers["RateLimit-Policy"] == '"requests";q=1;w=60'
        problem(api.get("/v1/queues"), 429, "too-many-requests")
        assert "RateLimit" not in api.post("/v1/jobs", JOB).headers


def test_without_limits_nothing_is_said_of_them(own_server: EmbeddedServer, store: Store, tmp_path: Path) -> None:
    with Api(tmp_path, own_server.url, "rates") as api:
        assert "RateLimit" not in api.get("/v1/queues").headers
        assert store.redis.keys("rates:spent:*") == []
