"""The exporter as a process, against a real server."""

import itertools
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
import requests
from redis import Redis
from redis.exceptions import OutOfMemoryError

from backroom.local.server import EmbeddedServer
from backroom.model.job import NewJob, new_job
from backroom.model.job_types import JobType
from backroom.model.options import parse_options
from backroom.store import Store, WorkerView, connect
from backroom.store.deliveries import Try
from backroom.store.execution import Outcome
from tests.integration.monitoring.watching import Exporter, eventually


def job(name: str = "send-email", queue: str = "mail", data: object = None, **options: Any) -> NewJob:
    return new_job(name=name, data=data or {}, queue=queue, options=parse_options(options))


def write_without_end(client: Redis) -> NoReturn:
    for number in itertools.count():
        client.set(f"ballast-{number}", "x" * 10_000)


@pytest.fixture
def own_store(own_server: EmbeddedServer, key_prefix: str) -> Iterator[Store]:
    client = connect(own_server.url, timeout=10)
    yield Store(client, prefix=key_prefix)
    client.close()


@pytest.fixture
def exporter(tmp_path: Path, own_server: EmbeddedServer, key_prefix: str) -> Iterator[Exporter]:
    with Exporter(tmp_path, own_server.url, key_prefix, BACKROOM_REDIS_TIMEOUT_SECONDS="20") as running:
        yield running


@pytest.fixture
def hasty_exporter(tmp_path: Path, own_server: EmbeddedServer, key_prefix: str) -> Iterator[Exporter]:
    """The same with little patience: for a server that does not answer."""
    with Exporter(tmp_path, own_server.url, key_prefix, BACKROOM_REDIS_TIMEOUT_SECONDS="1") as running:
        yield running


def test_a_scrape_tells_what_happened_to_jobs(exporter: Exporter, own_store: Store):
    own_store.submission.submit([job() for _ in range(4)] + [job(delay=60_000)])
    first = own_store.execution.exchange(worker="w", token="t1", lease_ms=60_000, room=3)
    one, two, _ = first.claimed
    outcomes = [
        Outcome(id=one.id, token=one.token, outcome="completed", result="null", run=40),
        Outcome(id=two.id, token=two.token, outcome="failed", error="{}", run=400),
    ]
    own_store.execution.exchange(worker="w", token="t2", lease_ms=60_000, outcomes=outcomes)

    found = exporter.scrape()

    assert found("up") == 1
    states = {"waiting": 1, "active": 1, "delayed": 1, "completed": 1, "failed": 1, "cancelled": 0}
    assert {state: found("jobs", queue="mail", state=state) for state in states} == states
    assert found("jobs_submitted_total", queue="mail", type="send-email") == 5
    assert found("jobs_started_total", queue="mail", type="send-email") == 3
    assert found("jobs_finished_total", queue="mail", type="send-email", outcome="completed") == 1
    assert found("jobs_finished_total", queue="mail", type="send-email", outcome="failed") == 1
    assert found("job_queue_wait_seconds_count", queue="mail", type="send-email") == 3
    assert found("job_run_seconds_bucket", queue="mail", type="send-email", le="0.025") == 0
    assert found("job_run_seconds_bucket", queue="mail", type="send-email", le="0.05") == 1
    assert found("job_run_seconds_bucket", queue="mail", type="send-email", le="0.5") == 2
    assert found("job_run_seconds_sum", queue="mail", type="send-email") == pytest.approx(0.44)
    assert found("collector_errors_total", collector="jobs") == 0


def test_a_scrape_tells_what_webhooks_were_told(exporter: Exporter, own_store: Store):
    webhook, _ = own_store.webhooks.create(url="https://shop.example/hooks", events=("completed",))
    gone, _ = own_store.webhooks.create(url="https://gone.example/hooks", events=("failed",))
    own_store.webhooks.update(gone.id, enabled=False)
    own_store.submission.submit([job() for _ in range(3)])
    claimed = own_store.execution.exchange(worker="w", token="t1", lease_ms=60_000, room=3).claimed
    ends = [Outcome(id=each.id, token=each.token, outcome="completed", result="null") for each in claimed]
    own_store.execution.exchange(worker="w", token="t2", lease_ms=60_000, outcomes=ends[:2])
    own_store.outbox.dispatch()
    own_store.execution.exchange(worker="w", token="t3", lease_ms=60_000, outcomes=ends[2:])
    first, second = own_store.deliveries.page(webhook.id).deliveries
    refused = Try(at=0, status=500, duration_ms=5, error="answered 500")
    own_store.deliveries.record(first.id, refused, "pending", url=first.url)
    for each in (first, second):
        own_store.deliveries.record(
            each.id, Try(at=0, status=204, duration_ms=5, error=None), "delivered", url=each.url
        )

    found = exporter.scrape()

    assert found("webhook_attempts_total", outcome="delivered") == 2
    assert found("webhook_attempts_total", outcome="failed") == 1
    assert found("webhook_deliveries_total", outcome="delivered") == 2
    assert found("webhook_deliveries_total", outcome="dropped") == 0
    assert found("webhook_delivery_delay_seconds_count") == 2
    assert found("webhook_deliveries_pending") == 0
    assert found("webhook_outbox_notices") == 1
    assert found("webhook_outbox_oldest_age_seconds") >= 0
    assert found("webhook_endpoints", state="enabled") == 1
    assert found("webhook_endpoints", state="by-hand") == 1


def test_a_scrape_tells_of_workers_schedulers_and_types_on_offer(exporter: Exporter, own_store: Store):
    view = WorkerView(
        id="worker-1@a", host="a", pid=1, queues=None, pool="threads", slots=8, busy=5, jobs=(), started_at=0
    )
    own_store.workers.beat(view)
    own_store.workers.tick("scheduler@a")
    own_store.job_types.publish("worker-1@a", [JobType(name="resize-image", queue="images")], ttl_seconds=60)

    found = exporter.scrape()

    assert found("workers") == 1
    assert found("worker_slots", worker="worker-1@a") == 8
    assert found("worker_slots_busy", worker="worker-1@a") == 5
    assert found("queue_workers", queue="images") == 1
    assert found("scheduler_last_tick_timestamp_seconds", scheduler="scheduler@a") > 1_700_000_000
    assert found("worker_last_heartbeat_timestamp_seconds", worker="worker-1@a") > 1_700_000_000
    assert found("jobs_finished_total", queue="images", type="resize-image", outcome="failed") == 0


def test_while_redis_is_away_scrapes_go_on_and_say_so(exporter: Exporter, own_server: EmbeddedServer, own_store: Store):
    own_store.submission.submit([job()])
    assert exporter.get("/healthz").status_code == 200
    own_server.kill()

    found = exporter.scrape()
    assert found("up") == 0
    assert found("collector_errors_total", collector="redis") == 1
    assert not [
        name for name in found.names if name.startswith(("backroom_jobs", "backroom_redis", "backroom_workers"))
    ]
    health = exporter.get("/healthz")
    assert health.status_code == 503
    assert "does not answer" in health.text

    own_server.start()
    found = exporter.scrape()
    assert found("up") == 1
    assert found("jobs_submitted_total", queue="mail", type="send-email") == 1
    assert exporter.get("/healthz").status_code == 200


def test_a_frozen_redis_delays_a_scrape_by_one_time_out_at_most(hasty_exporter: Exporter, own_server: EmbeddedServer):
    exporter = hasty_exporter
    before = eventually(exporter.scrape, until=lambda found: found("up") == 1)
    own_server.pause()
    try:
        with ThreadPoolExecutor() as pool:
            scrapes = [pool.submit(exporter.scrape) for _ in range(4)]
            assert [scrape.result()("up") for scrape in scrapes] == [0] * 4
            found = exporter.scrape()
        errors = {name: found("collector_errors_total", collector=name) for name in ("redis", "jobs")}
        assert errors["redis"] - before("collector_errors_total", collector="redis") == 5
        assert errors["jobs"] == before("collector_errors_total", collector="jobs"), "not tried: Redis does not answer"
    finally:
        own_server.resume()
    eventually(exporter.scrape, until=lambda found: found("up") == 1)


def test_a_full_redis_can_still_be_watched(exporter: Exporter, own_store: Store):
    own_store.submission.submit([job()])
    client = own_store.redis
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 500_000)
    with pytest.raises(OutOfMemoryError):
        write_without_end(client)

    found = exporter.scrape()

    assert found("up") == 1
    assert found("redis_out_of_memory_errors_total") == 1
    assert found("redis_memory_used_bytes") / found("redis_memory_max_bytes") > 0.9
    assert found("jobs", queue="mail", state="waiting") > 0


def test_a_store_that_cannot_be_read_fails_its_own_collector_only(exporter: Exporter, own_store: Store):
    own_store.redis.set(own_store.keys.single("metrics"), "a string where a hash should be")
    found = exporter.scrape()
    assert found("up") == 1
    assert found("collector_errors_total", collector="jobs") == 1
    assert found("collector_errors_total", collector="redis") == 0
    assert found("redis_aof_enabled") == 1
    exporter.scrape()
    assert exporter.log.count("reading fails") == 1, "told once, not at every scrape"


def test_many_scrapes_at_once_agree(exporter: Exporter, own_store: Store):
    own_store.submission.submit([job() for _ in range(100)])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: exporter.scrape(), range(32)))
    assert {each("jobs_submitted_total", queue="mail", type="send-email") for each in found} == {100}


def test_the_metrics_are_offered_in_the_format_that_prometheus_asks_for(exporter: Exporter):
    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
    answer = requests.get(f"{exporter.url}/metrics", headers=accept, timeout=20)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert exporter.get("/metrics").headers["Content-Type"].startswith("text/plain")


def test_there_are_two_addresses_and_both_are_only_read(exporter: Exporter):
    assert exporter.get("/").status_code == 404
    assert exporter.get("/metrics/").status_code == 404
    answer = requests.post(f"{exporter.url}/metrics", data=b"x", timeout=20)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET"


def test_it_starts_before_redis_does(tmp_path: Path, own_server: EmbeddedServer, key_prefix: str):
    own_server.stop()
    with Exporter(tmp_path, own_server.url, key_prefix) as exporter:
        assert exporter.scrape()("up") == 0
        own_server.start()
        assert exporter.scrape()("up") == 1


def test_sigterm_ends_it_cleanly_though_a_client_keeps_its_connection(exporter: Exporter):
    with socket.create_connection(("127.0.0.1", exporter.port)):
        assert exporter.stop() == 0
    assert "stopped" in exporter.log


def test_a_taken_port_is_said_plainly(tmp_path: Path, redis_url: str, key_prefix: str):
    exporter = Exporter(tmp_path, redis_url, key_prefix)
    with socket.create_server(("127.0.0.1", exporter.port)):
        assert exporter.launch().wait(60) == 1
    exporter.stop()
    assert "BACKROOM_EXPORTER_PORT" in exporter.log
    assert "Traceback" not in exporter.log
