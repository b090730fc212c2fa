"""Driving the store by hand: submitting jobs, and a worker that does what the test says."""

from __future__ import annotations

import json
import time
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from backroom.model.job import NewJob, new_job
from backroom.model.options import parse_options
from backroom.store.execution import Claimed, Exchanged, Held, Outcome, OutcomeKind, Renewal, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backroom.model.states import State
    from backroom.store import Store

T = TypeVar("T")

#: Longer than any test, in ms.
LONG = 600_000


def a_job(name: str = "task", *, queue: str = "default", data: object = None, **options: Any) -> NewJob:
    """A valid job with BullMQ's option names."""
    return new_job(name=name, queue=queue, data=data if data is not None else {}, options=parse_options(options))


def submit(store: Store, name: str = "task", *, queue: str = "default", data: object = None, **options: Any) -> str:
    """Submit one job. Returns its id."""
    [submitted] = store.submission.submit([a_job(name, queue=queue, data=data, **options)])
    return submitted.id


def submit_many(store: Store, number: int, **options: Any) -> list[str]:
    """Submit equal jobs, each in a call of its own. Returns their ids."""
    return [submit(store, **options) for _ in range(number)]


def error_text(message: str = "it broke", kind: str = "ValueError", attempt: int = 1) -> str:
    """An error as workers send it."""
    return json.dumps({"type": kind, "message": message, "traceback": "Traceback", "attempt": attempt, "at": 1000})


class Worker:
    """A worker without slots and threads."""

    def __init__(
        self, store: Store, name: str = "worker-1", *, lease_ms: int = LONG, served: Served | None = None
    ) -> None:
        self.store, self.name, self.lease_ms, self.served = store, name, lease_ms, served
        self._turns = count(1)

    def exchange(self, outcomes: Sequence[Outcome] = (), room: int = 0, *, token: str | None = None) -> Exchanged:
        """One exchange, under a token of its own unless one is given."""
        return self.store.execution.exchange(
            worker=self.name,
            token=token or f"{self.name}.{next(self._turns)}",
            lease_ms=self.lease_ms,
            outcomes=outcomes,
            room=room,
            served=self.served,
        )

    def claim(self, room: int = 1) -> list[Claimed]:
        """Claim up to ``room`` jobs."""
        return self.exchange(room=room).claimed

    def claim_one(self) -> Claimed:
        """Claim one job, which there must be."""
        [claimed] = self.claim()
        return claimed

    def end(self, job: Claimed, kind: OutcomeKind = "completed", **fields: Any) -> bool:
        """Settle a job. Returns whether that was accepted."""
        return self.exchange([outcome(job, kind, **fields)]).accepted == [True]

    def renew(self, *jobs: Claimed) -> list[Renewal]:
        """Renew the leases of jobs."""
        held = [Held(job.id, job.token, job.queue) for job in jobs]
        return self.store.execution.renew(held, lease_ms=self.lease_ms)


def outcome(job: Claimed, kind: OutcomeKind = "completed", **fields: Any) -> Outcome:
    """An outcome with what its kind needs."""
    if kind == "completed":
        fields.setdefault("result", '{"ok":true}')
    elif kind != "release":
        fields.setdefault("error", "gone" if kind == "stalled" else error_text(attempt=job.made + 1))
    return Outcome(id=job.id, token=job.token, outcome=kind, **fields)


def run(store: Store, name: str = "task", kind: OutcomeKind = "completed", **options: Any) -> str:
    """Submit a job and bring it to an outcome at once. Returns its id."""
    job_id = submit(store, name, **options)
    worker = Worker(store, "runner")
    claimed = worker.claim(1000)
    ends = [outcome(job, kind if job.id == job_id else "release") for job in claimed]
    assert all(worker.exchange(ends).accepted)
    assert job_id in {job.id for job in claimed}
    return job_id


def state(store: Store, job_id: str) -> State | None:
    """Where the job is; None: nowhere."""
    [found] = store.inspection.states([job_id])
    return found


def counts(store: Store, queue: str = "default") -> dict[str, int]:
    """How many jobs the queue has in each state that has any."""
    return {str(state): number for state, number in store.queues.get(queue).counts.items() if number}


def outlive(store: Store, *kinds: str, queue: str = "default") -> None:
    """End the times of a queue's jobs as if they had gone by: ``ttl``, ``until`` (retention), ``active`` (leases).

    Somebody was heard all the while: a test that stands still for long is not taken for an outage, which begins leases
    anew.
    """
    seconds, micros = store.redis.time()
    store.redis.set(store.keys.single("alive"), int(seconds) * 1000 + int(micros) // 1000)
    store.redis.delete(store.keys.single("grace"))
    for kind in kinds:
        key = store.keys.state(queue, kind)
        ids = store.redis.zrange(key, 0, -1)
        if ids:
            store.redis.zadd(key, dict.fromkeys(ids, 1))


def a_job_that_is(store: Store, where: str, **options: Any) -> str:
    """A job brought into a state. Returns its id."""
    if where in {"completed", "failed", "cancelled"}:
        return run(store, kind=where, **options)  # type: ignore[arg-type]  # these states are outcomes too
    job_id = submit(store, **{"delayed": {"delay": LONG}, "expired": {"ttl": LONG}}.get(where, {}), **options)
    if where == "active":
        Worker(store).claim_one()
    if where == "expired":
        outlive(store, "ttl")
        store.upkeep.sweep()
    assert state(store, job_id) == where
    return job_id


def order(claimed: Sequence[Claimed]) -> list[str]:
    """The names of jobs, in the order in which they were claimed."""
    return [job.name for job in claimed]


def events(store: Store, *types: str) -> list[str]:
    """The types of all events so far, or only those of some types."""
    everything = store.events.read("0-0", count=1_000_000)
    return [event.type for event in everything if not types or event.type in types]


def eventually(look: Callable[[], T], *, until: Callable[[T], object] = bool, within: float = 60.0) -> T:
    """The first answer of ``look``, asked again and again, that is true (or that ``until`` says is right)."""
    deadline = time.monotonic() + within
    while True:
        is_late = time.monotonic() > deadline  # before it looks: whoever stood still for long looks once more
        found = look()
        if until(found):
            return found
        if is_late:
            message = f"still {found!r} after {within} s"
            raise AssertionError(message)
        time.sleep(0.002)
