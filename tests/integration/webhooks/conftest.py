"""Fixtures: a stage whose workers may deliver to this machine, and try again soon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.integration.engine.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.local.server import EmbeddedServer

#: Pauses between tries, in seconds; the last is longer than any test.
SETTINGS: dict[str, Any] = {
    "webhook_allowed_networks": "127.0.0.1/32",
    "webhook_retry_seconds": "0,1,1000",
    "webhook_timeout_seconds": 30,
}


@pytest.fixture(scope="session")
def office(steady_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage with a worker of each pool and a scheduler, for tests that leave no webhook behind."""
    with Stage(steady_server.url, f"office-{uuid4().hex[:8]}", tmp_path_factory.mktemp("office"), **SETTINGS) as stage:
        stage.workers("prefork", "threads")
        stage.scheduler()
        yield stage


@pytest.fixture
def empty_office(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage without any process, for one test."""
    with Stage(server.url, f"office-{uuid4().hex[:8]}", tmp_path_factory.mktemp("office"), **SETTINGS) as stage:
        yield stage
