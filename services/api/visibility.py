"""What a key that is bound to some queues or job types gets to see.

What is of a job is for keys of its queue and its type; what is of a queue, such as its counts, for keys of the queue;
a worker for keys of a queue that it serves, with their own of its jobs alone. What cannot be divided so is refused.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from backroom.model.errors import NotFound
from backroom.model.job import Job
from backroom.store import QueueView, WorkerView
from services.api.http.access import Principal
from services.api.http.operation import Call
from services.api.http.problems import Problem

__all__ = [
    "check_unbound",
    "check_whole_queue",
    "narrowed",
    "shown_workers",
    "visible_job",
    "visible_queues",
    "visible_workers",
]


def visible_job(call: Call[Any, Any], job_id: str, *, attempts: bool = False) -> Job:
    """The job, if there is one and the key may know of it. Raises `NotFound`."""
    job = call.backend.store.inspection.get(job_id, attempts=attempts)
    if not call.principal.may_touch(queue=job.queue, name=job.name):
        raise NotFound("job", job_id)
    return job


def visible_queues(principal: Principal, queues: Iterable[QueueView]) -> list[QueueView]:
    """Those that are on the key's list. Their figures count jobs of every type."""
    return [queue for queue in queues if principal.is_for_queue(queue.name)]


def visible_workers(principal: Principal, workers: Iterable[WorkerView]) -> list[WorkerView]:
    """Those that serve a queue on the key's list, with all that they are and do: see `shown_workers`."""
    own = principal.queues
    return [each for each in workers if own is None or each.queues is None or not own.isdisjoint(each.queues)]


def shown_workers(call: Call[Any, Any]) -> list[WorkerView]:
    """The workers as the key may see them: of their queues and their jobs only its own are named."""
    principal, store = call.principal, call.backend.store
    workers = visible_workers(principal, store.workers.list())
    if not principal.bound:
        return workers
    running = [job_id for worker in workers for job_id in worker.jobs]
    places = store.inspection.places(running)
    own = {job_id for job_id, at in zip(running, places, strict=True) if at and principal.may_touch(**at._asdict())}
    return [
        replace(
            worker,
            queues=None if worker.queues is None else tuple(filter(principal.is_for_queue, worker.queues)),
            jobs=tuple(job_id for job_id in worker.jobs if job_id in own),
        )
        for worker in workers
    ]


def _check_queue(principal: Principal, queue: str) -> None:
    """Raise `Problem` (403) for a queue that is not on the key's list."""
    if not principal.is_for_queue(queue):
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
