"""Webhooks as one reads them: endpoints, secrets and deliveries."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from backroom.client.answers.fields import Raw, time_of

__all__ = ["Delivery", "DeliveryAttempt", "WebhookEndpoint", "WebhookSecret"]


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Who is told of all jobs."""

    id: str
    url: str
    #: Such as ``completed``.
    events: tuple[str, ...]
    description: str | None
    enabled: bool
    #: ``gone``: it answered 410; ``failing``: for days; ``by-hand``; None: it is enabled.
    disabled_reason: str | None
    #: Since when every try has failed; None: the last one did not.
    failing_since: datetime | None
    created_at: datetime
    #: Deliveries that wait or are tried again.
    pending: int
    #: Notices that were not told, because too many were pending.
    dropped: int
    #: What its messages are signed with, when it was just made; None ever after.
    secret: str | None = field(repr=False)
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(
            id=raw["id"],
            url=raw["url"],
            events=tuple(raw["events"]),
            description=raw["description"],
            enabled=raw["enabled"],
            disabled_reason=raw["disabledReason"],
            failing_since=time_of(raw["failingSince"]),
            created_at=datetime.fromisoformat(raw["createdAt"]),
            pending=raw["pending"],
            dropped=raw["dropped"],
            secret=raw.get("secret"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """What messages are signed with: give it to a library of Standard Webhooks to verify them."""

    secret: str = field(repr=False)
    #: The one before, while it signs as well, and until when.
    old_secret: str | None = field(repr=False)
    old_secret_until: datetime | None
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(raw["secret"], raw["oldSecret"], time_of(raw["oldSecretUntil"]), raw)


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One try to deliver."""

    at: datetime
    #: What the receiver answered; None: nothing.
    status: int | None
    #: Seconds.
    duration: float
    error: str | None

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(datetime.fromisoformat(raw["at"]), raw["status"], raw["durationMs"] / 1000, raw["error"])


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery of a webhook."""

    id: str
    #: The id of the endpoint; None: the job's own webhook.
    endpoint: str | None
    url: str
    #: Such as ``job.completed``.
    type: str
    job_id: str
    #: The header ``webhook-id``: the same in every try.
    webhook_id: str
    #: ``pending``, ``delivered`` or ``failed``.
    state: str
    #: When the event was.
    at: datetime
    attempts_made: int
    #: The newest 50, the newest last.
    attempts: tuple[DeliveryAttempt, ...]
    #: None: as soon as a worker is free, or never.
    next_attempt_at: datetime | None
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(
            id=raw["id"],
            endpoint=raw["endpoint"],
            url=raw["url"],
            type=raw["type"],
            job_id=raw["jobId"],
            webhook_id=raw["webhookId"],
            state=raw["state"],
            at=datetime.fromisoformat(raw["at"]),
            attempts_made=raw["attemptsMade"],
            attempts=tuple(DeliveryAttempt.from_json(each) for each in raw["attempts"]),
            next_attempt_at=time_of(raw["nextAttemptAt"]),
            raw=raw,
        )
