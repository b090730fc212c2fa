"""The settings of the jobs that come with the stack, read from the environment like all others."""

from functools import cache
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backroom.settings import Networks

__all__ = ["JobSettings", "get_job_settings"]

MEBIBYTE = 1024 * 1024

_ADDRESS = r"[^\s<>@,;:\"\\()]+@[^\s<>@,;:\"\\()]+"
_SENDER = rf"^({_ADDRESS}|[^\x00-\x1f\x7f<>@,;:\"\\()]+ <{_ADDRESS}>)$"


class JobSettings(BaseSettings):
    """The settings of `services.worker.jobs`."""

    model_config = SettingsConfigDict(env_prefix="BACKROOM_", env_ignore_empty=True, extra="ignore")

    jobs_allowed_networks: Networks = Field(
        (),
        description="Comma-separated private networks (CIDR) that jobs may call. Empty: public addresses only.",
    )
    jobs_ca_file: str | None = Field(
        None, description="A PEM file of certificate authorities that replaces the public ones for calls by jobs."
    )
    jobs_timeout_seconds: float = Field(
        10.0, gt=0, le=300, description="How long a job waits to connect and for each answer, in seconds."
    )
    jobs_max_response_bytes: int = Field(
        20 * MEBIBYTE, ge=1024, description="The largest body a job reads over HTTP, decompressed, in bytes."
    )

    artifact_max_bytes: int = Field(50 * MEBIBYTE, ge=1024, description="The largest file a job may store, in bytes.")
    artifact_keep_days: int = Field(
        30, ge=1, le=36_500, description="purge-artifacts removes files older than this many days."
    )
    artifact_purge_limit: int = Field(
        1000, ge=1, le=1_000_000, description="How many files one run of purge-artifacts removes at most."
    )

    image_max_pixels: int = Field(
        40_000_000,
        ge=1,
        le=80_000_000,
        description="The most pixels an image may have, before and after resize-image.",
    )

    smtp_host: str | None = Field(None, description="The mail server of send-email. Empty: send-email fails at once.")
    smtp_port: int | None = Field(
        None, ge=1, le=65_535, description="Its port. Empty: 465 with tls, 587 with starttls, 25 with none."
    )
    smtp_tls: Literal["none", "starttls", "tls"] = Field(
        "starttls", description="none, starttls (a plain connection is upgraded), or tls (encrypted from the start)."
    )
    smtp_ca_file: str | None = Field(
        None, description="A PEM file of certificate authorities that replaces the system's for the mail server."
    )
    smtp_username: str | None = Field(None, description="The account at the mail server; needs tls or starttls.")
    smtp_password: SecretStr | None = Field(None, description="Its password.")
    smtp_from: str = Field(
        "backroom@localhost",
        pattern=_SENDER,
        description="The sender of every mail: an address, or Name <address>, the name without punctuation.",
    )
    smtp_timeout_seconds: float = Field(
        30.0, gt=0, le=600, description="How long the mail server may take for each answer, in seconds."
    )
    smtp_max_message_bytes: int = Field(
        20 * MEBIBYTE, ge=1024, description="The largest mail, attachments included, in bytes."
    )

    vapid_private_key: SecretStr | None = Field(
        None,
        description="The key that signs Web Push messages: 32 bytes as base64url. "
        "`python -m services.worker.support.webpush` makes one.",
    )
    vapid_subject: str | None = Field(
        None,
        pattern=r"^(mailto:|https://)\S+$",
        description="Whom a push service may write to about our messages: mailto:… or https://…",
    )

    report_max_jobs: int = Field(
        5000, ge=1, le=1_000_000, description="How many jobs of a user usage-report reads at most, newest first."
    )

    sync_rate_max: int = Field(5, ge=1, le=1_000_000, description="sync-api: at most this many requests ...")
    sync_rate_seconds: float = Field(
        1.0,
        ge=0.001,
        le=86_400,
        description="... in this many seconds, over all workers, unless the queue has own limits.",
    )
    sync_api_tokens: dict[str, SecretStr] = Field(
        {},
        description='Bearer tokens of sync-api by origin, as JSON: {"https://api.example.com": "token"}. '
        "A token is sent to its own origin only.",
    )

    @field_validator("sync_api_tokens")
    @classmethod
    def _check_origins(cls, tokens: dict[str, SecretStr]) -> dict[str, SecretStr]:
        """Refuse keys that no request would ever match."""
        for origin in tokens:
            parts = urlsplit(origin)
            if parts.scheme not in {"http", "https"} or origin != f"{parts.scheme}://{parts.netloc}".lower():
                raise ValueError(f"{origin!r} is no origin: write scheme://host or scheme://host:port, in lower case")
        return tokens

    @model_validator(mode="after")
    def _check_mail(self) -> Self:
        """Never send a password in the clear."""
        if self.smtp_username is not None and self.smtp_password is None:
            raise ValueError("BACKROOM_SMTP_USERNAME needs BACKROOM_SMTP_PASSWORD")
        if self.smtp_username is not None and self.smtp_tls == "none":
            raise ValueError("BACKROOM_SMTP_USERNAME needs BACKROOM_SMTP_TLS=starttls or tls")
        return self


@cache
def get_job_settings() -> JobSettings:
    """The settings of the jobs of this process, read once."""
    return JobSettings()
