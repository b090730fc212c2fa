"""What becomes of a real server's INFO."""

import pytest
import redis

from backroom.local.server import EmbeddedServer
from monitoring.exporter.redis_info import SECTIONS, redis_metrics


def read(client: redis.Redis) -> dict[str, float]:
    return {sample.name: sample.value for family in redis_metrics(client.info(*SECTIONS)) for sample in family.samples}


@pytest.fixture
def client(own_server: EmbeddedServer):
    with redis.Redis.from_url(own_server.url, decode_responses=True) as client:
        yield client


def test_a_healthy_server_is_durable_and_refuses_nothing(client):
    found = read(client)
    assert found["backroom_redis_aof_enabled"] == 1
    assert found["backroom_redis_aof_last_write_ok"] == 1
    assert found["backroom_redis_aof_last_rewrite_ok"] == 1
    assert found["backroom_redis_loading"] == 0
    assert found["backroom_redis_memory_used_bytes"] > 100_000
    assert found["backroom_redis_connected_clients"] >= 1
    assert found["backroom_redis_max_clients"] >= 100
    for counter in ("out_of_memory_errors", "rejected_connections", "evicted_keys", "aof_delayed_fsyncs"):
        assert found[f"backroom_redis_{counter}_total"] == 0


def test_refusals_for_lack_of_memory_are_counted(client):
    client.config_set("maxmemory", "1500kb")
    for number in range(1000):
        try:
            client.set(f"key-{number}", "x" * 10_000)
        except redis.exceptions.OutOfMemoryError:
            break
    else:
        pytest.fail("the server took more than its maxmemory")
    found = read(client)
    assert found["backroom_redis_memory_max_bytes"] == 1500 * 1024
    assert found["backroom_redis_out_of_memory_errors_total"] == 1


def test_keys_thrown_away_are_counted_and_the_policy_is_told(client):
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", "1500kb")
    for number in range(200):
        client.set(f"key-{number}", "x" * 10_000)
    assert read(client)["backroom_redis_evicted_keys_total"] > 0
    (identity,) = next(redis_metrics(client.info(*SECTIONS))).samples
    assert identity.labels["maxmemory_policy"] == "allkeys-lru"
    assert identity.labels["version"]


def test_what_a_managed_server_hides_is_left_out():
    found = {sample.name for family in redis_metrics({"redis_version": "7.4.0"}) for sample in family.samples}
    assert "backroom_redis_info" in found
    assert "backroom_redis_memory_used_bytes" not in found
    assert "backroom_redis_aof_last_write_ok" not in found
