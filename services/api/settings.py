"""Settings of the API processes alone; what they share with the rest of the stack is in `backroom.settings`."""

from functools import cache

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["ApiSettings", "get_api_settings"]


class ApiSettings(BaseSettings):
    """How many processes answer requests, and how. Read by `gunicorn.conf.py` and by the app."""

    model_config = SettingsConfigDict(env_prefix="BACKROOM_API_", env_ignore_empty=True, extra="ignore")

    processes: int = Field(2, ge=1, le=64, description="Processes that answer requests; one a core is enough.")
    connections: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Connections a process keeps open, beside those of callers that wait; others wait to be accepted.",
    )
    store_connections: int = Field(
        32, ge=2, le=10_000, description="Connections to Redis a process has at most; requests share them."
    )
    max_waits: int = Field(
        500,
        ge=0,
        le=10_000,
        description="Callers that may wait (Prefer: wait) or listen to events at once, over all processes; more: 503.",
    )
    heartbeat_seconds: float = Field(
        15.0, ge=0.1, le=3600, description="A stream of events says something at least this often, in seconds."
    )
    rate_limit_requests: int = Field(
        0,
        ge=0,
        le=1_000_000_000,
        description="Requests that one key may send in a window, submissions apart; 0: any number.",
    )
    rate_limit_submissions: int = Field(
        0, ge=0, le=1_000_000_000, description="Submitting requests that one key may send in a window; 0: any number."
    )
    rate_limit_seconds: int = Field(60, ge=1, le=86_400, description="The length of such a window, in seconds.")
    key_fresh_seconds: float = Field(
        1.0,
        ge=0.05,
        le=60,
        description="An API key that was revoked over HTTP is refused by every process within this time, in seconds.",
    )
    audit_max: int = Field(
        50_000,
        ge=100,
        le=10_000_000,
        description="About how many entries the audit log keeps of acts, and as many of submissions and refusals.",
    )
    scaling_drain_seconds: float = Field(
        60.0, ge=1, le=86_400, description="GET /v1/stats/scaling: a backlog should be gone in this time, in seconds."
    )
    scaling_slots_per_worker: int = Field(
        1, ge=1, le=10_000, description="GET /v1/stats/scaling: the slots of a worker, while there is none to ask."
    )
    shutdown_seconds: int = Field(
        20, ge=1, le=3600, description="After SIGTERM, requests in progress have this long to be answered, in seconds."
    )
    idempotency_seconds: int = Field(
        86_400,
        ge=60,
        le=31_536_000,
        description="The answer to a request with an Idempotency-Key is kept this long, in seconds.",
    )


@cache
def get_api_settings() -> ApiSettings:
    """The settings of this process, read once."""
    return ApiSettings()
