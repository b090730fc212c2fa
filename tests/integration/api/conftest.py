"""Fixtures of the API's tests: one API a test process, with an empty store and two job types before each test."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from tests.integration.api.board import Board
from tests.integration.api.service import TYPES, Api


@pytest.fixture(scope="session")
def running_api(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, str]]:
    """A running API on the shared server, and its key prefix."""
    prefix = f"api-{uuid4().hex[:8]}"
    with Api(tmp_path_factory.mktemp("api"), server.url, prefix) as api:
        yield api, prefix


@pytest.fixture
def store(server: EmbeddedServer, running_api: tuple[Api, str]) -> Iterator[Store]:
    """The store of the running API, empty but for two job types."""
    with redis.Redis.from_url(server.url) as client:
        client.flushdb()
    client = connect(server.url, timeout=10)
    store = Store(client, prefix=running_api[1])
    store.job_types.publish("test-worker", TYPES, ttl_seconds=3600)
    yield store
    client.close()


@pytest.fixture
def api(running_api: tuple[Api, str], store: Store) -> Api:
    """The running API, with an empty store and two job types."""
    return running_api[0]


@pytest.fixture
def board(store: Store) -> Board:
    """A worker's view of the same store."""
    return Board(store)
