"""Who works, what is offered, and the whole in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from backroom.client.answers.fields import Raw, time_of
from backroom.model.states import State

__all__ = ["Event", "JobType", "Stats", "Worker"]


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that does jobs."""

    #: The ``worker`` of its jobs.
    id: str
    host: str
    pid: int
    #: The queues it serves; None: every queue.
    queues: tuple[str, ...] | None
    #: ``prefork`` or ``threads``.
    pool: str
    #: How many jobs it can run at once, and how many it runs.
    slots: int
    busy: int
    #: The ids of the jobs it runs.
    jobs: tuple[str, ...]
    started_at: datetime
    heartbeat_at: datetime
    #: ``running``, ``quiet`` (takes no more jobs) or ``stopping``.
    state: str
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        queues = raw["queues"]
        return cls(
            id=raw["id"],
            host=raw["host"],
            pid=raw["pid"],
            queues=None if queues is None else tuple(queues),
            pool=raw["pool"],
            slots=raw["slots"],
            busy=raw["busy"],
            jobs=tuple(raw["jobs"]),
            started_at=datetime.fromisoformat(raw["startedAt"]),
            heartbeat_at=datetime.fromisoformat(raw["heartbeatAt"]),
            state=raw["state"],
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class JobType:
    """A kind of job that workers offer."""

    name: str
    #: Where its jobs go unless the caller names a queue.
    queue: str
    description: str
    #: JSON Schema of the data.
    schema: Raw
    #: Options in the API's words.
    defaults: Raw
    #: How many workers offer it.
    workers: int
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(
            name=raw["name"],
            queue=raw["queue"],
            description=raw["description"],
            schema=raw["schema"],
            defaults=raw["defaults"],
            workers=raw["workers"],
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class Stats:
    """The stack in a few numbers."""

    #: Jobs in each of the eight states, over all queues.
    counts: Mapping[State, int]
    queues: int
    paused_queues: int
    #: How long the oldest ready job has waited, in ms; None when none waits.
    oldest_waiting_ms: int | None
    workers: int
    #: Jobs that run, and jobs that could run at once.
    busy: int
    slots: int
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(
            counts={State(state): count for state, count in raw["counts"].items()},
            queues=raw["queues"],
            paused_queues=raw["pausedQueues"],
            oldest_waiting_ms=raw["oldestWaitingMs"],
            workers=raw["workers"],
            busy=raw["busy"],
            slots=raw["slots"],
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    #: Its place in the stream: give it as ``last_event_id`` to go on behind it.
    id: str
    #: Such as ``added``, ``active``, ``progress``, ``completed``, ``failed``; ``reset``: some were missed.
    type: str
    #: None for what concerns a whole queue.
    job_id: str | None
    queue: str | None
    #: The job type.
    name: str | None
    at: datetime | None
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw, *, id: str, type: str) -> Self:  # noqa: A002 - the words of server-sent events
        """From the data of a server-sent event, its id and its type."""
        return cls(
            id=id,
            type=type,
            job_id=raw.get("jobId") or None,
            queue=raw.get("queue") or None,
            name=raw.get("name") or None,
            at=time_of(raw.get("at")),
            raw=raw,
        )
