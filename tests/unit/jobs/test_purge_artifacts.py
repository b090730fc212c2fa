from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from backroom.settings import get_settings
from services.worker.jobs.purge_artifacts import PurgeArtifacts, purge_artifacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.worker.support.artifacts import ArtifactStore


def write(artifacts: ArtifactStore, name: str, days: float) -> None:
    artifacts.write(name, b"1234")
    then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(Path(get_settings().artifacts_dir) / name, (then, then))


def test_what_is_older_than_the_settings_say_is_removed(
    configure: Callable[..., None], artifacts: ArtifactStore
) -> None:
    configure(artifact_keep_days="7")
    write(artifacts, "old", days=7.1)
    write(artifacts, "new", days=6.9)
    assert purge_artifacts({}) == {"removed": 1, "bytes": 4, "olderThanDays": 7, "more": False}
    assert [artifact.name for artifact in artifacts] == ["new"]


def test_one_run_may_have_another_age(artifacts: ArtifactStore) -> None:
    write(artifacts, "old", days=2)
    assert purge_artifacts({"olderThanDays": 1})["removed"] == 1


def test_a_run_is_bounded_and_says_that_there_is_more(configure: Callable[..., None], artifacts: ArtifactStore) -> None:
    configure(artifact_purge_limit="2")
    for name in ("a", "b", "c"):
        write(artifacts, name, days=100)
    assert [purge_artifacts({})["removed"], purge_artifacts({})["more"]] == [2, False]


def test_a_stack_that_never_stored_anything_has_nothing_to_remove(artifacts: ArtifactStore) -> None:
    assert purge_artifacts({})["removed"] == 0


@pytest.mark.parametrize("data", [{"olderThanDays": 0}, {"olderThanDays": 1.5}, {"days": 3}, []])
def test_data_of_another_form_is_refused(data: object) -> None:
    with pytest.raises(ValidationError):
        PurgeArtifacts.model_validate(data)
