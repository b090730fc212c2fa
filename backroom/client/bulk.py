"""Bulk actions: one thing that is done to many jobs, in the background."""

from __future__ import annotations

import math
import uuid
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, TypedDict, Unpack

from backroom.client.answers.bulk import BulkAction
from backroom.client.channel import path_to
from backroom.client.options import time_json
from backroom.client.pages import MAX_PAGE, pages
from backroom.model.backoff import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backroom.client.channel import Channel
    from backroom.client.options import Duration
    from backroom.model.states import State

__all__ = ["BulkActionKind", "BulkActions", "JobFilter"]

BulkActionKind = Literal["retry", "cancel", "promote", "remove"]
COUNT_SECONDS: Final = 15.0
"""What the API may take to count."""
GLANCE_SECONDS: Final = 0.5
"""How often somebody who waits looks."""


class JobFilter(TypedDict, total=False):
    """Which jobs: several values of one word mean "or", several words "and"."""

    queue: str | Sequence[str]
    state: State | str | Sequence[State | str]
    name: str | Sequence[str]
    tag: str | Sequence[str]
    user_id: str | Sequence[str]
    #: An id, or words in the error, the name or a tag.
    q: str
    #: Created at this time or later, and before this time.
    since: datetime
    before: datetime


class BulkActions:
    """The bulk actions of a stack: `Backroom.bulk`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def start(
        self,
        action: BulkActionKind,
        ids: Sequence[str] | None = None,
        *,
        reset_attempts: bool = False,
        idempotency_key: str | None = None,
        **filters: Unpack[JobFilter],
    ) -> BulkAction:
        """Begin to act on jobs: those with these ids (1 to 1000), or those that the filters choose.

        It is about the jobs as they are now; those whose state forbids the action are skipped. Retried jobs keep their
        priority, options and order; with ``reset_attempts`` each has all its tries again. A call that is sent again
        begins nothing twice. Raises `InvalidInput`.
        """
        body = _body(action, ids, filters)
        if reset_attempts:
            body["resetAttempts"] = True
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._channel.call("POST", "/v1/bulk-actions", body=body, headers=headers).read(BulkAction.from_json)

    def count(self, action: BulkActionKind, ids: Sequence[str] | None = None, **filters: Unpack[JobFilter]) -> int:
        """How many jobs such an action would be about now: a dry run. Raises `InvalidInput`."""
        body = {**_body(action, ids, filters), "dryRun": True}
        answer = self._channel.call("POST", "/v1/bulk-actions", body=body, safe=True, patience=COUNT_SECONDS)
        return answer.read(lambda raw: int(raw["total"]))

    def get(self, action_id: str) -> BulkAction:
        """How far an action is. Raises `NotFound`, also a while after its end."""
        return self._channel.call("GET", path_to("v1", "bulk-actions", action_id)).read(BulkAction.from_json)

    def list(self, *, limit: int | None = None) -> Iterator[BulkAction]:
        """Bulk actions, newest first, fetched page by page as they are asked for; ``limit`` of them at most."""
        size = MAX_PAGE if limit is None else max(1, min(limit, MAX_PAGE))
        found = pages(self._channel, "/v1/bulk-actions", "bulkActions", BulkAction.from_json, {"limit": size})
        return islice(found, limit)

    def abort(self, action_id: str) -> BulkAction:
        """Let an action do no more; what it has done stays done. Raises `NotFound`, and `Conflict` if it is over."""
        path = path_to("v1", "bulk-actions", action_id, "abort")
        return self._channel.call("POST", path, safe=True).read(BulkAction.from_json)

    def wait(
        self,
        action_id: str,
        timeout: Duration | None = None,
        *,
        report: Callable[[BulkAction], None] | None = None,
    ) -> BulkAction:
        """Wait until an action has finished, and return it; when the time is up, return it as it is then.

        For ever if ``timeout`` is None. ``report`` is called with it about twice a second. Raises `NotFound`.
        """
        policy = self._channel.policy
        until = policy.clock() + (math.inf if timeout is None else seconds_of(timeout))
        while True:
            action = self.get(action_id)
            if report is not None:
                report(action)
            left = until - policy.clock()
            if action.finished or left <= 0:
                return action
            policy.sleep(min(GLANCE_SECONDS, left))


def _body(action: str, ids: Sequence[str] | None, filters: JobFilter) -> dict[str, object]:
    if (ids is None) == (not filters):
        raise ValueError("give ids or filters, one of them")
    if ids is not None:
        return {"action": action, "ids": [str(each) for each in ids]}
    words = {"user_id": "userId", "since": "from", "before": "to"}
    return {"action": action, "filter": {words.get(name, name): _value(value) for name, value in filters.items()}}


def _value(value: object) -> object:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        return time_json(value)
    several: Sequence[object] = value  # type: ignore[assignment]  # all that is left in `JobFilter`
    return [str(each) for each in several]
