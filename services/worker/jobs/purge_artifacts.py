"""``purge-artifacts``: removes old files that jobs have stored."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from backroom import job
from services.worker.support.artifacts import ArtifactStore
from services.worker.support.data import JobData
from services.worker.support.settings import get_job_settings

log = logging.getLogger(__name__)


class PurgeArtifacts(JobData):
    """Nothing has to be given: the settings say what is old."""

    older_than_days: int | None = Field(
        None, ge=1, le=36_500, description="Instead of BACKROOM_ARTIFACT_KEEP_DAYS, for this run."
    )


@job(
    "purge-artifacts",
    queue="maintenance",
    attempts=3,
    timeout=600,
    schedule={"pattern": "17 3 * * *", "overlap": False},
)
def purge_artifacts(data: PurgeArtifacts) -> dict[str, Any]:
    """Remove artifacts older than `BACKROOM_ARTIFACT_KEEP_DAYS`, at most `BACKROOM_ARTIFACT_PURGE_LIMIT` a run."""
    settings = get_job_settings()
    days = data.older_than_days or settings.artifact_keep_days
    purged = ArtifactStore.from_settings().purge(
        datetime.now(UTC) - timedelta(days=days), limit=settings.artifact_purge_limit
    )
    log.info("removed %d files (%d bytes) older than %d days", purged.files, purged.size, days)
    return {"removed": purged.files, "bytes": purged.size, "olderThanDays": days, "more": purged.more}
