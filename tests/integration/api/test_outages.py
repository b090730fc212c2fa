"""The store goes away and comes back: refusals that are quick and honest, and no restart."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
import requests

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from tests.integration.api.service import TYPES, Api, problem

JOB = {"name": "anything", "data": 1}
PREFIX = "outage"
#: What a call to the store may take, in seconds.
TIMEOUT = "0.5"
#: Far above that, far below a hang.
PATIENCE = 15
READINGS = ["/v1/jobs", "/v1/jobs/x", "/v1/jobs/x/result", "/v1/jobs/x/logs", "/v1/queues", "/v1/job-types", "/readyz"]


@pytest.fixture
def api(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Api]:
    """An API on a server of its own."""
    publish(own_server)
    with Api(tmp_path, own_server.url, PREFIX) as api:
        yield api


@pytest.fixture
def hasty_api(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Api]:
    """The same with little patience: for a server that does not answer."""
    publish(own_server)
    with Api(tmp_path, own_server.url, PREFIX, BACKROOM_REDIS_TIMEOUT_SECONDS=TIMEOUT) as api:
        yield api


def until_ready(api: Api) -> None:
    """Wait until the API takes the store for there."""
    deadline = time.monotonic() + PATIENCE
    while api.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline


def publish(server: EmbeddedServer) -> None:
    with connect(server.url) as client:
        Store(client, prefix=PREFIX).job_types.publish("test-worker", TYPES, ttl_seconds=3600)


def assert_away(api: Api) -> None:
    """Every call is refused with a 503, soon."""
    for path in READINGS:
        problem(api.get(path, timeout=PATIENCE), 503, "store-unavailable")
    for path, body in (("/v1/jobs", JOB), ("/v1/jobs/bulk", {"jobs": [JOB]}), ("/v1/jobs/x/cancel", None)):
        problem(api.post(path, body, timeout=PATIENCE), 503, "store-unavailable")
    page = api.session.get(f"{api.url}/", timeout=PATIENCE)
    assert (page.status_code, "store is away" in page.text) == (503, True)
    assert api.get("/livez").status_code == 200
    assert api.get("/openapi.json").status_code == 200


def test_a_killed_store_is_a_503_until_it_is_back(api: Api, own_server: EmbeddedServer) -> None:
    before = api.post("/v1/jobs", JOB).json()["id"]
    own_server.kill()
    assert_away(api)
    own_server.start()
    assert api.get("/readyz").status_code == 200
    after = api.post("/v1/jobs", JOB)
    assert after.status_code == 202
    listed = {job["id"] for job in api.get("/v1/jobs").json()["jobs"]}
    assert after.json()["id"] in listed
    assert listed <= {before, after.json()["id"]}


def test_a_frozen_store_is_a_503_until_it_thaws(hasty_api: Api, own_server: EmbeddedServer) -> None:
    own_server.pause()
    try:
        assert_away(hasty_api)
    finally:
        own_server.resume()
    deadline = time.monotonic() + PATIENCE
    while hasty_api.post("/v1/jobs", JOB).status_code != 202:
        assert time.monotonic() < deadline


def test_fifty_callers_of_a_frozen_store_are_all_refused_soon(hasty_api: Api, own_server: EmbeddedServer) -> None:
    def submit(_: int) -> requests.Response:
        return requests.post(f"{hasty_api.url}/v1/jobs", json=JOB, timeout=PATIENCE)

    own_server.pause()
    try:
        with ThreadPoolExecutor(50) as pool:
            for response in pool.map(submit, range(50)):
                problem(response, 503, "store-unavailable")
    finally:
        own_server.resume()
    until_ready(hasty_api)


def test_one_who_waits_for_a_stored_job_is_answered_with_it_when_the_store_goes(
    api: Api, own_server: EmbeddedServer
) -> None:
    with ThreadPoolExecutor(1) as pool, redis.Redis.from_url(own_server.url) as client:
        answer = pool.submit(api.post, "/v1/jobs", JOB, headers={"Prefer": "wait=8"})
        deadline = time.monotonic() + PATIENCE
        while not any(connection["cmd"] == "xread" for connection in client.client_list()):
            assert time.monotonic() < deadline, "nobody waits for events"
        own_server.kill()
        response = answer.result(30)
    assert (response.status_code, response.json()["state"]) == (202, "waiting")


def test_a_full_store_says_that_it_is_full(api: Api, own_server: EmbeddedServer) -> None:
    kept = api.post("/v1/jobs", JOB).json()["id"]
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory", 1)
        for body in (JOB, {"name": "heavy-task", "data": {"userId": "u", "payload": {}}}):
            assert "memory" in problem(api.post("/v1/jobs", body), 503, "store-full")["detail"]
        problem(api.post("/v1/jobs/bulk", {"jobs": [JOB] * 3}), 503, "store-full")
        assert [job["id"] for job in api.get("/v1/jobs").json()["jobs"]] == [kept]
        client.config_set("maxmemory", 0)
    assert api.post("/v1/jobs", JOB).status_code == 202


def test_before_any_worker_has_published_its_job_types(own_server: EmbeddedServer, tmp_path: Path) -> None:
    with Api(tmp_path, own_server.url, PREFIX) as api:
        body = {"userId": "u1", "payload": {}}
        assert "No worker" in problem(api.post("/jobs/enqueue", body), 503, "no-job-types")["detail"]
        assert api.get("/v1/queues").json() == {"queues": []}
        publish(own_server)
        assert api.post("/jobs/enqueue", body).status_code == 202


def test_unknown_job_types_pass_where_the_operator_lets_them(own_server: EmbeddedServer, tmp_path: Path) -> None:
    with Api(tmp_path, own_server.url, PREFIX, BACKROOM_ALLOW_UNKNOWN_JOB_TYPES="true") as api:
        job = api.post("/v1/jobs", {"name": "unheard-of", "data": 1}).json()
        assert job["queue"] == "default"
        publish(own_server)
        problem(api.post("/v1/jobs", {"name": "heavy-task", "data": 1}), 422, "invalid-input")


def test_an_api_starts_while_the_store_is_away(own_server: EmbeddedServer, tmp_path: Path) -> None:
    own_server.kill()
    with Api(tmp_path, own_server.url, PREFIX) as api:
        problem(api.get("/readyz"), 503, "store-unavailable")
        own_server.start()
        until_ready(api)
