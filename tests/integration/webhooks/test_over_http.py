"""From a request over HTTP to a job, to a worker's log, to a webhook: one story, under one trace and one request id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.integration.api.service import Api
from tests.integration.engine.stage import Stage, eventually
from tests.integration.jobs.servers import Answer
from tests.integration.webhooks.conftest import SETTINGS
from tests.integration.webhooks.receiver import read, receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.local.server import EmbeddedServer

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def http(steady_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Stage]]:
    """An API, a worker and a scheduler that share a store."""
    folder, prefix = tmp_path_factory.mktemp("http"), f"http-{uuid4().hex[:8]}"
    with (
        Stage(steady_server.url, prefix, folder, log_format="json", **SETTINGS) as stage,
        Api(folder, steady_server.url, prefix) as api,
    ):
        stage.worker("teller", options=["--loglevel", "INFO"])
        stage.scheduler()
        yield api, stage


def test_a_job_submitted_over_http_is_told_of_under_its_trace_and_its_request(http: tuple[Api, Stage]) -> None:
    api, stage = http
    with receiver() as there:
        made = api.post("/v1/webhooks", {"url": there.url, "events": ["completed", "failed"]}).json()
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Request-Id": "order-4711"}
        body = {"name": "add", "data": {"x": 1, "y": 2}}
        job_id = api.post("/v1/jobs", body, headers=headers).json()["id"]

        [request] = there.after(1)
        message = read(request, made["secret"])
        path = f"/v1/webhooks/{made['id']}"
        [delivery] = eventually(
            lambda: api.get(f"{path}/deliveries").json()["deliveries"],
            until=lambda found: found and found[0]["state"] == "delivered",
        )
        job = api.get(f"/v1/jobs/{job_id}").json()
        assert api.call("DELETE", path).status_code == 204

    assert (message["data"]["id"], message["data"]["traceId"], message["data"]["result"]) == (job_id, TRACE, 3)
    assert message["data"]["links"] == job["links"]
    assert request.headers["traceparent"].split("-")[1] == TRACE
    assert request.headers["X-Request-Id"] == "order-4711"
    assert (delivery["jobId"], delivery["webhookId"]) == (job_id, request.headers["webhook-id"])
    worker = next(process for process in stage.processes if process.name.startswith("teller"))

    def said() -> list[dict[str, str]]:
        whole, _, _ = worker.output.rpartition("\n")  # the last line may not be all there yet
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if delivery["webhookId"] in line["event"]]

    [told] = eventually(said)  # that it was told is stored first
    assert (told["trace_id"], told["request_id"], told["job_id"]) == (TRACE, "order-4711", delivery["id"])


def test_a_receiver_that_is_gone_is_seen_and_enabled_again_over_http(http: tuple[Api, Stage]) -> None:
    api, _ = http
    with receiver(Answer(410)) as there:
        path = f"/v1/webhooks/{api.post('/v1/webhooks', {'url': there.url, 'events': ['completed']}).json()['id']}"
        api.post("/v1/jobs", {"name": "add", "data": {"x": 1}})
        gone = eventually(lambda: api.get(path).json(), until=lambda found: not found["enabled"])
        assert gone["disabledReason"] == "gone"

        assert api.call("PATCH", path, json={"enabled": True}).json()["enabled"]
        [delivery] = api.get(f"{path}/deliveries").json()["deliveries"]
        again = api.post(f"/v1/webhooks/deliveries/{delivery['id']}/redeliver")
        assert again.status_code == 202
        there.after(2)
        eventually(
            lambda: api.get(f"/v1/webhooks/deliveries/{delivery['id']}").json()["state"],
            until=lambda state: state == "delivered",
        )
        assert len({request.headers["webhook-id"] for request in there.got}) == 1
        assert api.call("DELETE", path).status_code == 204
