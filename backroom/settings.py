"""Every setting of the product, read from environment variables with the prefix ``BACKROOM_``.

A setting's ``description`` is its documentation: `.env.example` lists the same settings and a test compares the two.
"""

from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["Network", "Networks", "Settings", "get_settings"]

MEBIBYTE = 1024 * 1024


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _split(value: object) -> object:
    """Turn the comma-separated text of an environment variable into a tuple."""
    return _parts(value) if isinstance(value, str) else value


def _networks(value: object) -> object:
    """Turn comma-separated CIDRs into networks; a lone address is a network of one."""
    return tuple(ip_network(part) for part in _parts(value)) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Numbers = Annotated[tuple[Annotated[int, Field(ge=0, le=30 * 86_400)], ...], NoDecode, BeforeValidator(_split)]
Network = IPv4Network | IPv6Network
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]


class Settings(BaseSettings):
    """The settings shared by the API, the workers, the scheduler and the exporter."""

    model_config = SettingsConfigDict(env_prefix="BACKROOM_", env_ignore_empty=True, extra="ignore")

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="The job store: redis://, rediss:// (TLS), unix://path?db=0, or "
        "sentinel://host:port,host:port/service/db.",
    )
    key_prefix: str = Field(
        "backroom",
        pattern=r"^[A-Za-z0-9._~-]{1,64}$",
        description="Prefix of every key in Redis; several stacks may share one server under different prefixes.",
    )
    redis_timeout_seconds: float = Field(
        2.0, gt=0, le=60, description="How long one call to Redis may take before it counts as away, in seconds."
    )
    lease_seconds: float = Field(
        10.0,
        ge=0.5,
        le=3600,
        description="A worker that has not renewed its jobs for this long has lost them, in seconds.",
    )
    sweep_seconds: float = Field(
        1.0, ge=0.1, le=3600, description="How often the scheduler looks for lost, expired and old jobs, in seconds."
    )
    worker_sweep_seconds: float = Field(
        5.0,
        ge=0.1,
        le=3600,
        description="The same in every worker, with jitter, so that a dead scheduler delays little.",
    )
    idle_wait_seconds: float = Field(
        5.0, ge=0.1, le=60, description="The longest an idle worker sleeps when a wake-up is lost, in seconds."
    )
    claim_ahead_seconds: float = Field(
        0.05,
        ge=0,
        le=10,
        description="How much work, in seconds, a worker may claim ahead while its jobs are very short.",
    )
    claim_batch: int = Field(128, ge=1, le=1000, description="The most jobs a worker claims in one call.")
    message_batch: int = Field(
        16, ge=1, le=256, description="The most very short jobs that are handed to one pool slot in one message."
    )
    shutdown_grace_seconds: float = Field(
        25.0,
        ge=0,
        le=3600,
        description="After SIGTERM, running jobs have this long to finish; then they are given back.",
    )
    events_max: int = Field(
        10_000,
        ge=100,
        le=10_000_000,
        description="About how many entries the event stream keeps: what happens in one step, up to 32 events, is one.",
    )
    api_keys: str | None = Field(
        None, description='JSON list of API keys: [{"name", "key", "roles", "queues"?, "jobTypes"?}]. None: open mode.'
    )
    api_keys_file: str | None = Field(None, description="A file with the same JSON, for secrets mounted as files.")
    allowed_hosts: Words = Field(
        (), description="Comma-separated host names, beside localhost, that the API answers to while it has no keys."
    )
    webhook_allowed_networks: Networks = Field(
        (), description="Comma-separated private networks (CIDR) that webhooks may reach. Empty: none."
    )
    webhook_timeout_seconds: float = Field(
        15.0, gt=0, le=300, description="How long a receiver of webhooks may take to connect and to answer, in seconds."
    )
    webhook_retry_seconds: Numbers = Field(
        (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400),
        max_length=100,
        description="Comma-separated pauses between the tries to deliver a webhook, in seconds; each is lengthened at "
        "random by up to a fifth.",
    )
    webhook_max_bytes: int = Field(
        256 * 1024,
        ge=1024,
        description="What a webhook tells of a job's error, result, data and progress, in bytes; what is larger is "
        "left out, and named.",
    )
    webhook_keep_seconds: int = Field(
        7 * 86_400, ge=60, description="Deliveries of webhooks are kept this long after they have ended, in seconds."
    )
    webhook_keep_count: int = Field(
        10_000, ge=1, le=1_000_000, description="At most this many ended deliveries are kept for a webhook."
    )
    webhook_max_pending: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="At most this many deliveries of a webhook wait or are retried; more are dropped, and counted.",
    )
    webhook_slots_percent: int = Field(
        50,
        ge=1,
        le=100,
        description="At most this share of the slots of all workers together delivers webhooks at once, in percent; "
        "one slot at least.",
    )
    webhook_at_once: int = Field(
        10,
        ge=1,
        le=10_000,
        description="At most this many deliveries to one receiver are made at once, and one while it is slow to "
        "answer.",
    )
    webhook_disable_after_seconds: int = Field(
        5 * 86_400,
        ge=0,
        le=365 * 86_400,
        description="An endpoint of webhooks that has failed for this long without one success is disabled, in "
        "seconds; 0: never.",
    )
    webhook_ca_file: str | None = Field(
        None, description="A PEM file of certificate authorities that replaces the public ones for webhooks."
    )
    allow_unknown_job_types: bool = Field(default=False, description="Accept jobs whose name no worker offers.")
    job_type_ttl_seconds: int = Field(
        300,
        ge=5,
        le=31_536_000,
        description="A job type that no worker has offered for this long is forgotten, in seconds.",
    )
    max_body_bytes: int = Field(MEBIBYTE, ge=1024, description="The largest request body, in bytes.")
    max_data_bytes: int = Field(256 * 1024, ge=64, description="The largest data of one job, in bytes of compact JSON.")
    max_bulk_bytes: int = Field(10 * MEBIBYTE, ge=1024, description="The largest body of a bulk submission, in bytes.")
    max_data_depth: int = Field(64, ge=2, le=500, description="How deeply a job's data may be nested.")
    max_result_bytes: int = Field(
        MEBIBYTE,
        ge=64,
        description="The largest result of one job, in bytes of compact JSON.",
    )
    max_log_lines: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="How many log lines are kept for one job, newest first.",
    )
    keep_completed_seconds: int = Field(86_400, ge=0, description="Completed jobs are kept this long, in seconds.")
    keep_completed_count: int = Field(
        100_000,
        ge=0,
        description="At most this many completed jobs are kept for a queue.",
    )
    keep_failed_seconds: int = Field(
        7 * 86_400, ge=0, description="Failed, cancelled and expired jobs are kept this long, in seconds."
    )
    keep_failed_count: int = Field(
        100_000, ge=0, description="At most this many failed (and cancelled, and expired) jobs are kept for a queue."
    )
    keep_bulk_actions_seconds: int = Field(
        7 * 86_400, ge=60, le=31_536_000, description="Bulk actions can be read this long after their end, in seconds."
    )
    artifacts_dir: str = Field(".data/artifacts", description="The folder in which jobs keep the files they make.")
    exporter_port: int = Field(9400, ge=1, le=65535, description="The port of the metrics exporter.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json, console, or auto: console on a terminal, else json."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        description="The least severe level logged.",
    )

    def model_post_init(self, _context: object) -> None:
        """Check what one field alone cannot tell."""
        if self.sweep_seconds > self.lease_seconds:
            raise ValueError("BACKROOM_SWEEP_SECONDS must not exceed BACKROOM_LEASE_SECONDS")


@cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
