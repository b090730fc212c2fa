"""Fixtures: a stage for each pool, with a worker that the tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.integration.engine.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.local.server import EmbeddedServer

POOLS = ("prefork", "threads")


@pytest.fixture(scope="session", params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    """The pool of the workers."""
    return str(request.param)


@pytest.fixture(scope="session")
def stage(steady_server: EmbeddedServer, pool: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage with one worker of two slots for all tests; each test uses jobs and queues of its own."""
    with Stage(steady_server.url, f"engine-{uuid4().hex[:8]}", tmp_path_factory.mktemp(pool)) as stage:
        stage.worker(pool=pool)
        yield stage


@pytest.fixture(scope="session")
def pair(steady_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage with two workers of five slots, one of each pool; tests have queues of their own, or leave none busy."""
    with Stage(steady_server.url, f"engine-{uuid4().hex[:8]}", tmp_path_factory.mktemp("pair")) as stage:
        stage.workers(*POOLS, concurrency=5)
        yield stage


@pytest.fixture
def empty_stage(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage without any process, for one test."""
    with Stage(server.url, f"engine-{uuid4().hex[:8]}", tmp_path_factory.mktemp("stage")) as stage:
        yield stage
