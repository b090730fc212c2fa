"""Bulk actions as one reads them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from backroom.client.answers.fields import Raw, time_of

__all__ = ["BulkAction"]


@dataclass(frozen=True, slots=True)
class BulkAction:
    """A bulk action as it was when it was read."""

    id: str
    #: ``retry``, ``cancel``, ``promote`` or ``remove``.
    action: str
    #: ``running``, ``completed``, ``aborted`` or ``failed``.
    state: str
    #: Jobs that it is about; grows for a moment, while they are being found.
    total: int
    #: Jobs that it has acted on.
    succeeded: int
    #: Jobs whose state forbids it, or that are gone.
    skipped: int
    #: Ids that are no job, or none of the key's.
    failed: int
    #: Which jobs, in the API's words; None: they were named.
    filter: Raw | None
    created_at: datetime
    finished_at: datetime | None
    #: Why it has failed.
    detail: str | None
    raw: Raw = field(repr=False, compare=False)

    @property
    def finished(self) -> bool:
        """Whether it does no more."""
        return self.state != "running"

    @property
    def done(self) -> int:
        """Jobs that it is through with, one way or the other."""
        return self.succeeded + self.skipped + self.failed

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(
            id=raw["id"],
            action=raw["action"],
            state=raw["state"],
            total=raw["total"],
            succeeded=raw["succeeded"],
            skipped=raw["skipped"],
            failed=raw["failed"],
            filter=raw["filter"],
            created_at=datetime.fromisoformat(raw["createdAt"]),
            finished_at=time_of(raw["finishedAt"]),
            detail=raw["detail"],
            raw=raw,
        )
