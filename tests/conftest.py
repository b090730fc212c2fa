"""Fixtures for every test: one embedded server a test process, and an empty job store for each test."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis
from celery import _state as celery_state
from hypothesis import HealthCheck, settings

from backroom.local.server import LONGEST_SOCKET_PATH, EmbeddedServer
from backroom.store import Store, connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# An example that takes long says that the machine is busy. CI has a profile of Hypothesis' own, which this one keeps.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure() -> None:
    """Signals as a terminal has them: what nohup or a shell's `&` ignores, every process below ignores too."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def _server_in(folder: Path, *, appendonly: bool) -> EmbeddedServer:
    socket = folder / "valkey.sock"
    fits = len(bytes(socket)) <= LONGEST_SOCKET_PATH
    return EmbeddedServer(folder, socket=socket if fits else None, appendonly=appendonly)


@pytest.fixture(scope="module", autouse=True)
def _no_celery_application_left_over() -> Iterator[None]:
    """Celery's current and default application are again what they were before the module's tests.

    Shared tasks are looked up in the current application, and one that was closed takes no new ones.
    """
    default, current = celery_state.default_app, celery_state._tls.current_app
    yield
    celery_state.set_default_app(default)
    celery_state._set_current_app(current)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A running server, shared by the tests of one process: do not stop it (``own_server`` is for that)."""
    with _server_in(tmp_path_factory.mktemp("valkey"), appendonly=False) as running:
        yield running


@pytest.fixture(scope="session")
def steady_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A second one, which no test may empty: for workers and other processes that outlive a test and its file."""
    with _server_in(tmp_path_factory.mktemp("steady"), appendonly=False) as running:
        yield running


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A running server of the test's own, with an append-only file: to be killed, paused and started again."""
    with _server_in(tmp_path_factory.mktemp("own"), appendonly=True) as running:
        yield running


@pytest.fixture
def redis_url(server: EmbeddedServer) -> str:
    """The address of the shared server, its database emptied."""
    with redis.Redis.from_url(server.url) as client:
        client.flushdb()
    return server.url


@pytest.fixture
def key_prefix() -> str:
    """A key prefix that no other test uses: what a process of an earlier test still writes goes elsewhere."""
    return f"test-{uuid4().hex[:8]}"


@pytest.fixture
def store(redis_url: str, key_prefix: str) -> Iterator[Store]:
    """An empty job store on the shared server."""
    client = connect(redis_url, timeout=10)
    yield Store(client, prefix=key_prefix)
    client.close()
