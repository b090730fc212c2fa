"""What a key that is bound to some queues or job types gets to see."""

from collections.abc import Collection
from typing import Any

from backroom.model.errors import NotFound
from backroom.model.job import Job
from services.api.http.access import Principal
from services.api.http.operation import Call
from services.api.http.problems import Problem

__all__ = ["check_unbound", "check_whole_queue", "narrowed", "visible_job"]


def visible_job(call: Call[Any, Any], job_id: str, *, attempts: bool = False) -> Job:
    """The job, if there is one and the key may know of it. Raises `NotFound`."""
    job = call.backend.store.inspection.get(job_id, attempts=attempts)
    if not call.principal.may_touch(queue=job.queue, name=job.name):
        raise NotFound("job", job_id)
    return job


def _check_queue(principal: Principal, queue: str) -> None:
    """Raise `Problem` (403) for a queue that is not on the key's list."""
    if principal.queues is not None and queue not in principal.queues:
        raise Problem("forbidden", f"The key {principal.name!r} is not for the queue {queue!r}.")


def check_whole_queue(principal: Principal, queue: str) -> None:
    """Raise `Problem` (403) for a queue that is not on the key's list, and for a key of some job types only.

    For what concerns every job of a queue.
    """
    _check_queue(principal, queue)
    if principal.job_types is not None:
        raise Problem(
            "forbidden", f"The key {principal.name!r} is for some job types only, and this concerns them all."
        )


def check_unbound(principal: Principal) -> None:
    """Raise `Problem` (403) for a key of some queues or job types only. For what concerns them all."""
    if principal.bound:
        raise Problem("forbidden", f"The key {principal.name!r} is for some queues or job types only.")


def narrowed(asked: Collection[str], allowed: frozenset[str] | None) -> tuple[str, ...]:
    """The values of a filter that a key may use; all it may use if none were asked for. Raises `Problem` (403)."""
    if allowed is None:
        return tuple(asked)
    if not asked:
        return tuple(sorted(allowed))
    if not allowed.issuperset(asked):
        raise Problem("forbidden", "The key is not for all of these queues or job types.")
    return tuple(asked)
