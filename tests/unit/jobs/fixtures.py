"""Settings of a test's own for the jobs, read anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.settings import get_settings
from services.worker.support.artifacts import ArtifactStore
from services.worker.support.settings import get_job_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Set settings by their names without the prefix; artifacts go to a folder of the test's own."""

    def set_all(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"BACKROOM_{name.upper()}", value)
        get_settings.cache_clear()
        get_job_settings.cache_clear()

    set_all(artifacts_dir=str(tmp_path / "artifacts"))
    yield set_all
    monkeypatch.undo()
    get_settings.cache_clear()
    get_job_settings.cache_clear()


@pytest.fixture
def artifacts(configure: Callable[..., None]) -> ArtifactStore:
    """The artifacts that the jobs of this test see."""
    return ArtifactStore.from_settings()
