"""Fixtures for schedulers and workers as processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.schedules.programs import Programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backroom.store import Store


@pytest.fixture
def programs(store: Store, redis_url: str, tmp_path: Path) -> Iterator[Programs]:
    """Starts processes on the store of the test."""
    programs = Programs(store, redis_url, tmp_path)
    yield programs
    programs.end()
