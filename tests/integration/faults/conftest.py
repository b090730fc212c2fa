"""Fixtures: stages on which things may break."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.integration.engine.conftest import POOLS
from tests.integration.engine.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.local.server import EmbeddedServer


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    """The pool of the workers."""
    return str(request.param)


@pytest.fixture
def stage(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage without any process, on the shared server."""
    with Stage(
        server.url, f"faults-{uuid4().hex[:8]}", tmp_path_factory.mktemp("stage"), events_max=1_000_000
    ) as stage:
        yield stage


@pytest.fixture
def own_stage(own_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage without any process, on a server that the test may break."""
    with Stage(own_server.url, "faults", tmp_path_factory.mktemp("stage")) as stage:
        yield stage
