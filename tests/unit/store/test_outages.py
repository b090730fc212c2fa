"""What the store says when the server is away or not ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from backroom.local.server import HeldPort
from backroom.model.errors import StoreFull, StoreUnavailable
from backroom.settings import Settings
from backroom.store import Store, connect
from backroom.store.connection import store_errors
from tests.unit.store.hand import run, state, submit

if TYPE_CHECKING:
    from backroom.local.server import EmbeddedServer


def test_a_server_that_is_not_there_is_unavailable() -> None:
    port = HeldPort()
    store = Store(connect(f"redis://127.0.0.1:{port.number}/0", timeout=0.5), prefix="t")

    for call in (store.ping, store.queues.list, store.metrics.read, store.upkeep.sweep, lambda: submit(store)):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            call()
    port.release()


def test_a_frozen_server_is_unavailable_within_the_time_out(own_server: EmbeddedServer) -> None:
    store = Store(connect(own_server.url, timeout=6), prefix="t")  # a busy machine may take a while
    store.ping()
    own_server.pause()
    try:
        with pytest.raises(StoreUnavailable):
            store.ping()
    finally:
        own_server.resume()
    store.ping()


def test_a_restarted_server_is_found_again_with_its_jobs_and_without_its_scripts(own_server: EmbeddedServer) -> None:
    store = Store(connect(own_server.url, timeout=10), prefix="t")
    job_id = run(store)
    own_server.stop()
    own_server.start()

    assert state(store, job_id) == "completed"
    assert state(store, submit(store)) == "waiting"


def test_connections_that_were_cut_are_made_anew(store: Store, redis_url: str) -> None:
    store.ping()

    with connect(redis_url, timeout=10) as other:
        other.client_kill_filter(_type="normal", skipme=True)

    assert state(store, submit(store)) == "waiting"


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        OutOfMemoryError("allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"),
    ],
)
def test_a_full_server_is_told_apart(error: RedisError) -> None:
    with pytest.raises(StoreFull, match="memory limit"), store_errors():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        BusyLoadingError("Redis is loading the dataset in memory"),
        MasterDownError("Link with MASTER is down"),
        ReadOnlyError("You can't write against a read only replica."),
        AuthenticationError("invalid username-password pair"),
        ResponseError("BUSY Redis is busy running a script"),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ConnectionResetError("reset"),
        RedisError("anything else from the library"),
    ],
)
def test_a_server_that_is_not_ready_is_unavailable(error: Exception) -> None:
    with pytest.raises(StoreUnavailable) as unavailable, store_errors():
        raise error

    assert not isinstance(unavailable.value, StoreFull)


def test_a_bug_of_ours_is_not_taken_for_an_outage(store: Store) -> None:
    with pytest.raises(ResponseError), store_errors():
        store.redis.execute_command("NO-SUCH-COMMAND")


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="BACKROOM_REDIS_URL"):
        connect(url)


def test_a_sentinel_address_names_its_service() -> None:
    with pytest.raises(ValueError, match="service"):
        connect("sentinel://one:26379,two:26379")

    assert connect("sentinel://user:pass@one:26379,two/mymaster/3?sentinel_password=x") is not None


def test_a_store_can_be_made_from_the_settings(redis_url: str) -> None:
    store = Store.from_settings(Settings(redis_url=redis_url, key_prefix="from-settings"))

    store.ping()

    assert store.keys.prefix == "from-settings"
