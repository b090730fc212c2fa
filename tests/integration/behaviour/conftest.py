"""Fixtures: a whole stack, asked over HTTP alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.integration.api.service import Api
from tests.integration.behaviour.stack import Stack
from tests.integration.engine.conftest import POOLS
from tests.integration.engine.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.local.server import EmbeddedServer


@pytest.fixture(scope="session")
def stack(steady_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API, a scheduler, and a worker of each pool. Each leaves one queue to the other."""
    folder, prefix = tmp_path_factory.mktemp("stack"), "stack"
    with (
        Stage(steady_server.url, prefix, folder / "stage", events_max=1_000_000) as stage,
        Api(folder, steady_server.url, prefix) as api,
    ):
        workers = [
            stage.worker(pool=pool, concurrency=4, options=["-X", f"not-in-{pool}"], wait=False) for pool in POOLS
        ]
        for worker in workers:
            stage.wait_for_worker(worker)
        stage.scheduler()
        yield Stack(api, stage)


@pytest.fixture
def queue() -> str:
    """A queue of the test's own."""
    return f"queue-{uuid4().hex[:8]}"
