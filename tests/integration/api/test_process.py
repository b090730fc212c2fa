"""The processes of the API: their metrics, logs and end."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from tests.integration.api.service import TYPES, Api, problem

JOB = {"name": "anything", "data": 1}


@pytest.fixture
def own_api(server: EmbeddedServer, tmp_path: Path) -> Iterator[Api]:
    """An API that no other test has asked anything."""
    with connect(server.url) as client:
        Store(client, prefix="process").job_types.publish("test-worker", TYPES, ttl_seconds=3600)
    with Api(tmp_path, server.url, "process") as api:
        yield api


def samples(api: Api, name: str) -> dict[tuple[str, ...], float]:
    """The samples of a metric: label values in the order of their names -> value."""
    text = api.get("/metrics").text
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_requests_are_counted_over_all_processes_by_route_and_not_by_path(own_api: Api) -> None:
    for number in range(40):  # a connection each, so that both processes get some
        with own_api.session:
            own_api.get(f"/v1/jobs/nobody-{number}")
    own_api.post("/v1/jobs", JOB)
    own_api.get("/nowhere/at/all")
    own_api.call("BREW", "/v1/jobs")
    counted = samples(own_api, "backroom_http_requests_total")
    assert counted["GET", "/v1/jobs/{jobId}", "4xx"] == 40
    assert counted["POST", "/v1/jobs", "2xx"] == 1
    assert counted["GET", "unmatched", "4xx"] == 1
    assert counted["other", "unmatched", "5xx"] == 1  # 501, as it is none of HTTP
    timed = samples(own_api, "backroom_http_request_duration_seconds_count")
    assert timed["GET", "/v1/jobs/{jobId}"] == 40


def test_requests_that_ask_to_wait_are_counted_and_not_timed(own_api: Api) -> None:
    own_api.post("/v1/jobs", JOB, headers={"Prefer": "wait=1"})
    assert samples(own_api, "backroom_http_requests_total")["POST", "/v1/jobs", "2xx"] == 1
    assert ("POST", "/v1/jobs") not in samples(own_api, "backroom_http_request_duration_seconds_count")


def test_a_request_is_one_line_of_json_with_its_id_and_probes_are_none(own_api: Api) -> None:
    own_api.get("/readyz", headers={"X-Request-Id": "a-probe"})
    own_api.get("/v1/jobs/nobody", headers={"X-Request-Id": "a-question"})
    lines = [json.loads(line) for line in own_api.log.splitlines()]
    [line] = [line for line in lines if line.get("request_id") == "a-question"]
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/v1/jobs/nobody", 404)
    assert (line["actor"], line["address"]) == ("open", "127.0.0.1")
    assert "a-probe" not in own_api.log
    assert any("open mode" in line["event"] for line in lines)


def test_a_defect_is_a_problem_without_details_and_its_traceback_is_in_the_log(
    own_api: Api, server: EmbeddedServer
) -> None:
    job_id = own_api.post("/v1/jobs", JOB).json()["id"]
    with connect(server.url) as client:
        store = Store(client, prefix="process")
        client.hset(store.keys.job(job_id), "attempts", "a word where there must be a number")
        refused = own_api.get(f"/v1/jobs/{job_id}", headers={"X-Request-Id": "a-defect"})
        store.actions.remove(job_id)
    body = problem(refused, 500, "internal-error")
    assert "a-defect" in body["detail"]
    assert "number" not in refused.text
    [line] = [line for line in map(json.loads, own_api.log.splitlines()) if line["event"] == "request failed"]
    assert (line["request_id"], line["level"], line["path"]) == ("a-defect", "error", f"/v1/jobs/{job_id}")
    assert "ValueError" in line["exception"]


def test_it_ends_on_sigterm_and_leaves_nothing_behind(server: EmbeddedServer, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with Api(tmp_path, server.url, "process", TMPDIR=str(scratch)) as api:
        api.get("/livez")
        assert list(scratch.rglob("*.db"))
        api.ask_to_stop()
        assert api.wait_until_stopped() == 0
    assert list(scratch.iterdir()) == []


def test_hundreds_of_requests_at_once_share_few_connections_to_the_store(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    settings = {"BACKROOM_API_PROCESSES": "1", "BACKROOM_API_STORE_CONNECTIONS": "4"}
    with Api(tmp_path, own_server.url, "few", **settings) as api, ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection(("127.0.0.1", api.port), timeout=60)) for _ in range(300)]
        for line in lines:
            line.sendall(b"GET /v1/queues HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert {line.recv(12) for line in lines} == {b"HTTP/1.1 200"}
        with connect(own_server.url, single=True) as client:
            assert 1 < len(client.client_list()) <= 1 + 4
