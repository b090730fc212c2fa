"""A small model of the job board in plain Python: what the store must look like after each verb."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Literal

FINISHED = frozenset({"completed", "failed", "cancelled", "expired"})
#: How many finished jobs above their count are forgotten when one more finishes.
TRIMMED_AT_ONCE = 3

#: A wait that is over the next time somebody looks, or one that outlasts the test.
Wait = Literal["soon", "late"]


@dataclass
class BoardJob:
    """A job on the board."""

    id: str
    name: str
    queue: str
    user: str | None = None
    tags: tuple[str, ...] = ()
    priority: int = 0
    lifo: bool = False
    own_attempts: int | None = None
    max_stalled: int = 1
    ttl: Wait | None = None
    keep_completed: bool | int | None = None
    keep_failed: bool | int | None = None

    state: str = "new"
    #: Among waiting jobs: lost ones first, then by priority, then by place.
    lost: bool = False
    place: int = 0
    made: int = 0
    attempts: int = 1
    stalled: int = 0
    #: The rest of its ttl has begun and not ended.
    expiring: Wait | None = None
    #: Its ttl begins when it becomes ready for the first time.
    ttl_ahead: Wait | None = None
    due: Wait | None = None
    token: str | None = None
    lease: Wait | None = None
    window: int | None = None
    asked_to_stop: bool = False
    #: Given back before it began: the start that was counted then is the one to come.
    counted: bool = False

    @property
    def order(self) -> tuple[bool, int, int]:
        """Where it waits: smaller runs first."""
        return (not self.lost, self.priority, self.place)


@dataclass
class BoardQueue:
    """A queue on the board."""

    paused: bool = False
    concurrency: int | None = None
    rate: int | None = None
    max_length: int | None = None
    #: Starts in the running rate window, and which window that is; windows outlast the test.
    started: int = 0
    window: int | None = None
    held: bool = False
    sequence: int = 0
    lifo: int = 0
    #: Finished jobs that are not kept for ever, oldest first: ``completed``, and ``failed`` for all other ends.
    old: dict[str, list[str]] = field(default_factory=lambda: {"completed": [], "failed": []})


class Board:
    """Jobs, queues and counters."""

    def __init__(self) -> None:
        self.jobs: dict[str, BoardJob] = {}
        self.queues: defaultdict[str, BoardQueue] = defaultdict(BoardQueue)
        #: The queues that were named: paused, limited, or given a job.
        self.known: set[str] = set()
        self.counters: Counter[tuple[str, ...]] = Counter()
        self._windows = count(1)

    def ids(self, queue: str, *states: str) -> set[str]:
        """The jobs of a queue in some states."""
        return {job.id for job in self.jobs.values() if job.queue == queue and job.state in states}

    def waiting(self, queue: str) -> list[BoardJob]:
        """The waiting jobs of a queue in the order in which they run."""
        jobs = [job for job in self.jobs.values() if job.queue == queue and job.state == "waiting"]
        return sorted(jobs, key=lambda job: job.order)

    def limited(self, name: str) -> bool:
        """Whether a rate holds the queue."""
        queue = self.queues[name]
        return queue.held or (queue.rate is not None and queue.started >= queue.rate)

    def allowance(self, name: str) -> float:
        """How many jobs of the queue may start now."""
        queue = self.queues[name]
        if queue.paused or self.limited(name):
            return 0
        room = inf
        if queue.concurrency is not None:
            room = queue.concurrency - len(self.ids(name, "active"))
        if queue.rate is not None:
            room = min(room, queue.rate - queue.started)
        return max(0, room)

    # Verbs.

    def room_for(self, jobs: list[BoardJob]) -> bool:
        """Whether no queue gets longer than it may."""
        coming = Counter(
            job.queue for job in {job.id: job for job in reversed(jobs)}.values() if job.id not in self.jobs
        )
        return all(
            (most := self.queues[name].max_length) is None or len(self.ids(name, "waiting", "delayed")) + number <= most
            for name, number in coming.items()
        )

    def add(self, job: BoardJob, delay: Wait | None) -> bool:
        """A new job. False: its id is in use."""
        if job.id in self.jobs:
            return False
        self.jobs[job.id] = job
        job.attempts = job.own_attempts or 1
        job.ttl_ahead = job.ttl
        self.count("submitted", job)
        self.known.add(job.queue)
        if delay is None:
            self.ready(job)
        else:
            job.state, job.due = "delayed", delay
        return True

    def ready(self, job: BoardJob) -> None:
        """It waits, behind its equals or (lifo) before them."""
        queue = self.queues[job.queue]
        if job.lifo:
            queue.lifo += 1
            job.place = -queue.lifo
        else:
            queue.sequence += 1
            job.place = queue.sequence
        job.state, job.lost, job.due = "waiting", False, None
        if job.ttl_ahead:
            job.expiring, job.ttl_ahead = job.ttl_ahead, None

    def promote(self, due: list[str]) -> None:
        """What is due soon waits, in the order in which the store had it."""
        for job_id in due:
            self.ready(self.jobs[job_id])

    def claim(self, job: BoardJob, token: str, lease: Wait) -> None:
        """A worker has it."""
        queue = self.queues[job.queue]
        job.state, job.token, job.lease = "active", token, lease
        if queue.rate is not None:
            if queue.window is None:
                queue.window, queue.started = next(self._windows), 0
            queue.started += 1
            job.window = queue.window
        else:
            job.window = None
        if not job.counted:
            self.count("started", job)
        job.counted = False

    def settle(self, job: BoardJob, kind: str, delay: Wait | None) -> None:
        """Its try has come to an outcome."""
        job.token = job.lease = None
        if kind == "stalled":
            self.lose(job)
            return
        if kind == "release":
            queue = self.queues[job.queue]
            if queue.rate is not None and job.window == queue.window and queue.started > 0:
                queue.started -= 1
        else:
            job.expiring = None
        job.made += kind in {"completed", "failed", "cancelled", "retry"}
        if kind == "completed":
            self.finish(job, "completed")
        elif kind == "cancelled" or job.asked_to_stop:
            self.finish(job, "cancelled")
        elif kind == "failed":
            self.finish(job, "failed")
        else:
            self.come_back(job, kind, delay)

    def come_back(self, job: BoardJob, kind: str, delay: Wait | None) -> None:
        """It has not ended: at the place it was claimed from, or anew behind its equals."""
        if kind == "release":
            job.state, job.counted = "waiting", True
        elif kind == "rate-limited":
            job.state = "waiting"
            self.queues[job.queue].held |= delay == "late"
        else:
            if kind == "retry":
                self.count("retries", job)
            self.again(job, delay)

    def again(self, job: BoardJob, delay: Wait | None) -> None:
        """It waits again, at once or later."""
        if delay is None:
            self.ready(job)
        else:
            job.state, job.due = "delayed", delay

    def lose(self, job: BoardJob) -> None:
        """Whoever ran it died."""
        job.token = job.lease = job.expiring = None
        job.stalled += 1
        self.count("stalls", job)
        if job.asked_to_stop:
            self.finish(job, "cancelled")
        elif job.stalled > job.max_stalled:
            self.finish(job, "failed")
        else:
            job.state, job.lost = "waiting", True

    def finish(self, job: BoardJob, state: str) -> None:
        """It has ended, and may be forgotten at once, with some older ones."""
        self.counters["finished", job.queue, job.name, state] += 1
        keep = job.keep_completed if state == "completed" else job.keep_failed
        most = 100_000 if keep is None or keep is False else 0 if keep is True else keep
        if most == 0:
            del self.jobs[job.id]
            return
        job.state, job.asked_to_stop, job.due, job.expiring = state, False, None, None
        if keep is False:
            return
        old = self.queues[job.queue].old["completed" if state == "completed" else "failed"]
        old.append(job.id)
        for _ in range(min(max(0, len(old) - most), TRIMMED_AT_ONCE)):
            del self.jobs[old.pop(0)]

    def expire(self, job: BoardJob) -> None:
        """It was not started in time."""
        self.finish(job, "expired")

    def retry(self, job: BoardJob, *, reset: bool) -> None:
        """A finished job runs again."""
        self.keep(job)
        if reset:
            job.made, job.attempts = 0, job.own_attempts or 1
        elif job.made >= job.attempts:
            job.attempts = job.made + 1
        job.stalled, job.counted = 0, False
        job.ttl_ahead = job.ttl
        self.ready(job)

    def keep(self, job: BoardJob) -> None:
        """It is no longer among the finished ones that will be forgotten."""
        for old in self.queues[job.queue].old.values():
            if job.id in old:
                old.remove(job.id)

    def remove(self, job: BoardJob) -> None:
        """It is gone."""
        self.keep(job)
        del self.jobs[job.id]

    def forget_old(self, name: str) -> int:
        """The time of all finished jobs of a queue is over, but for those kept for ever."""
        gone = [job_id for old in self.queues[name].old.values() for job_id in old]
        for job_id in gone:
            self.remove(self.jobs[job_id])
        return len(gone)

    def limit(self, name: str, *, concurrency: int | None, rate: int | None, max_length: int | None) -> None:
        """New limits instead of all old ones."""
        queue = self.queues[name]
        self.known.add(name)
        queue.concurrency, queue.rate, queue.max_length = concurrency, rate, max_length
        if rate is None:
            queue.window, queue.started, queue.held = None, 0, False

    def pause(self, name: str, *, paused: bool) -> bool:
        """Pause or resume a queue. Returns whether that changed anything."""
        self.known.add(name)
        changed = self.queues[name].paused != paused
        self.queues[name].paused = paused
        return changed

    def count(self, metric: str, job: BoardJob) -> None:
        """Count what happened to a job of this kind."""
        self.counters[metric, job.queue, job.name] += 1
