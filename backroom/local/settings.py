"""What ``make run`` reads from the environment, beside the product's own settings."""

import math
import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["RunSettings"]

_THREADS = 10
"""Jobs at once in one worker process of the threads pool: they wait more than they compute."""


class RunSettings(BaseSettings):
    """How many processes run on this machine, and where; no prefix, as in ``PORT=8001 make run``."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    port: int = Field(8000, ge=1, le=65535, description="The port of the API and the dashboard, on 127.0.0.1.")
    data_dir: Path = Field(
        Path(".data"), description="The folder of everything a run writes: the jobs, and the files they make."
    )
    workers: int = Field(2, ge=0, le=64, description="Worker processes.")
    worker_pool: Literal["prefork", "threads"] = Field(
        "prefork", description="prefork: a child process a job, hard time limits. threads: for jobs that mostly wait."
    )
    worker_concurrency: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Jobs at once in each worker. Unset: the CPUs shared out among the workers, or 10 threads each.",
    )
    worker_queues: str | None = Field(
        None, description="Comma-separated queues that the workers serve. Unset: every queue, new ones too."
    )

    @property
    def jobs_at_once(self) -> int:
        """How many jobs each worker process runs at once."""
        if self.worker_concurrency is not None:
            return self.worker_concurrency
        if self.worker_pool == "threads":
            return _THREADS
        return math.ceil((os.cpu_count() or 1) / max(self.workers, 1))
