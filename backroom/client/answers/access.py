"""Who may come in, and who did what."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from backroom.client.answers.fields import Raw, time_of

__all__ = ["ApiKey", "AuditEntry"]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of an API key."""

    #: None: it comes from the environment of the API, and cannot be revoked from here.
    id: str | None
    name: str
    #: How the key begins; None where ``id`` is.
    prefix: str | None
    #: ``submit``, ``read``, ``operate``, ``admin``.
    roles: tuple[str, ...]
    #: The queues and the job types it is bound to; None: all.
    queues: tuple[str, ...] | None
    job_types: tuple[str, ...] | None
    created_at: datetime | None
    #: The name of the key that it was made with.
    created_by: str | None
    #: None: it does not end.
    expires_at: datetime | None
    #: Up to a minute before the last request with it.
    last_used_at: datetime | None
    #: The key itself, when it was just made; None ever after.
    key: str | None = field(repr=False)
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        queues, job_types = raw["queues"], raw["jobTypes"]
        return cls(
            id=raw["id"],
            name=raw["name"],
            prefix=raw["prefix"],
            roles=tuple(raw["roles"]),
            queues=None if queues is None else tuple(queues),
            job_types=None if job_types is None else tuple(job_types),
            created_at=time_of(raw["createdAt"]),
            created_by=raw["createdBy"],
            expires_at=time_of(raw["expiresAt"]),
            last_used_at=time_of(raw["lastUsedAt"]),
            key=raw.get("key"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that somebody did, or was refused."""

    at: datetime
    #: The name of the key; ``open`` where there are no keys; None: no key, or a wrong one.
    actor: str | None
    #: What was asked for, in the API's words: ``pause_queue``.
    action: str
    #: The address of what was acted on: ``/v1/queues/mail/pause``.
    target: str
    #: ``done`` or ``refused``.
    outcome: str
    #: The status of the answer.
    status: int
    #: What the API's log calls the request.
    request_id: str
    #: Where it came from, as the API sees it.
    address: str
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(
            at=datetime.fromisoformat(raw["at"]),
            actor=raw["actor"],
            action=raw["action"],
            target=raw["target"],
            outcome=raw["outcome"],
            status=raw["status"],
            request_id=raw["requestId"],
            address=raw["address"],
            raw=raw,
        )
