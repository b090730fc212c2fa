"""The exporter's own settings, beside those it shares with the stack (:mod:`backroom.settings`)."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["ExporterSettings"]


class ExporterSettings(BaseSettings):
    """Where the exporter listens, and how many time series it may make."""

    model_config = SettingsConfigDict(env_prefix="BACKROOM_", env_ignore_empty=True, extra="ignore")

    exporter_host: str = Field(
        "127.0.0.1",
        description="The address the metrics exporter listens on; a container needs 0.0.0.0.",
    )
    exporter_max_queues: int = Field(
        100, ge=1, le=10_000, description="This many queues get time series of their own; the rest share (other)."
    )
    exporter_max_job_types: int = Field(
        250,
        ge=1,
        le=10_000,
        description="This many pairs of queue and job type get time series of their own; the rest share (other).",
    )
    exporter_max_workers: int = Field(
        200, ge=1, le=10_000, description="This many workers get time series of their own; the rest share (other)."
    )
