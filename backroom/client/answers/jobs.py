"""Jobs as one reads them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from backroom.client.answers.fields import Raw, time_of
from backroom.model.states import FINISHED, State

__all__ = ["Attempt", "Job", "JobError", "LogLine", "Progress", "StateReason", "Submitted"]


@dataclass(frozen=True, slots=True)
class StateReason:
    """Why a job does not run yet."""

    #: Such as ``paused``, ``rate-limited``, ``concurrency``, ``delayed``, ``backoff``.
    code: str
    until: datetime | None
    detail: str | None

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(code=raw["code"], until=time_of(raw.get("until")), detail=raw.get("detail"))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job says it is."""

    #: 0 to 100, or None.
    percent: float | None
    message: str | None

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(percent=raw.get("percent"), message=raw.get("message"))


@dataclass(frozen=True, slots=True)
class JobError:
    """A failure of a job."""

    #: The class of the exception.
    type: str
    message: str
    traceback: str | None
    #: The try it came from, 1 first.
    attempt: int | None
    at: datetime | None

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(
            type=raw["type"],
            message=raw["message"],
            traceback=raw.get("traceback"),
            attempt=raw.get("attempt"),
            at=time_of(raw.get("at")),
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a job."""

    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    #: ``completed``, ``failed``, ``timeout``, ``stalled``, ``cancelled`` or ``retry-after``.
    outcome: str
    error: JobError | None

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(
            attempt=raw["attempt"],
            started_at=time_of(raw.get("startedAt")),
            finished_at=time_of(raw.get("finishedAt")),
            worker=raw.get("worker"),
            outcome=raw["outcome"],
            error=_error_of(raw.get("error")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it was when it was read."""

    id: str
    #: The job type.
    name: str
    queue: str
    state: State
    state_reason: StateReason | None
    #: Any JSON value.
    data: Any
    #: The options in the API's words: BullMQ's names, durations in ms.
    options: Raw
    priority: int
    tags: tuple[str, ...]
    #: Tries that came to an outcome.
    attempts_made: int
    #: Tries it may have.
    attempts: int
    #: How often the process that ran it died.
    stalled: int
    progress: Progress | None
    #: What it returned, once it is completed: any JSON value.
    result: Any
    #: The newest failure; None once a later try has succeeded.
    error: JobError | None
    created_at: datetime
    #: When it is due, if it is delayed.
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    #: From ready to started, of the newest try, in ms.
    wait_ms: int | None
    #: From started to finished, of the newest try, in ms.
    run_ms: int | None
    #: The id of the worker that has or had it.
    worker: str | None
    trace_id: str | None
    #: True in the answer to a submission whose job id was in use: nothing was stored, and this is the job that has it.
    duplicate: bool
    #: Every try, at most the newest 50, newest last; empty where a job is one of many.
    attempt_log: tuple[Attempt, ...]
    #: The entity tag, where the job was read by itself: for `Backroom.update`.
    etag: str | None
    #: The answer as it came.
    raw: Raw = field(repr=False, compare=False)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen by itself: completed, failed, cancelled or expired."""
        return self.state in FINISHED

    @classmethod
    def from_json(cls, raw: Raw, etag: str | None = None) -> Self:
        """From the API's words."""
        return cls(
            id=raw["id"],
            name=raw["name"],
            queue=raw["queue"],
            state=State(raw["state"]),
            state_reason=StateReason.from_json(raw["stateReason"]) if raw.get("stateReason") else None,
            data=raw["data"],
            options=raw["options"],
            priority=raw["priority"],
            tags=tuple(raw["tags"]),
            attempts_made=raw["attemptsMade"],
            attempts=raw["attempts"],
            stalled=raw["stalled"],
            progress=Progress.from_json(raw["progress"]) if raw.get("progress") else None,
            result=raw["result"],
            error=_error_of(raw.get("error")),
            created_at=datetime.fromisoformat(raw["createdAt"]),
            run_at=time_of(raw.get("runAt")),
            started_at=time_of(raw.get("startedAt")),
            finished_at=time_of(raw.get("finishedAt")),
            wait_ms=raw.get("waitMs"),
            run_ms=raw.get("runMs"),
            worker=raw.get("worker"),
            trace_id=raw.get("traceId"),
            duplicate=raw.get("duplicate", False),
            attempt_log=tuple(Attempt.from_json(each) for each in raw.get("attemptLog", ())),
            etag=etag,
            raw=raw,
        )


def _error_of(raw: Raw | None) -> JobError | None:
    return None if raw is None else JobError.from_json(raw)


@dataclass(frozen=True, slots=True)
class Submitted:
    """One job of many that were submitted together."""

    id: str
    state: State
    #: The id was in use: nothing was stored, and ``state`` is that of the job that has it.
    duplicate: bool
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(id=raw["id"], state=State(raw["state"]), duplicate=raw["duplicate"], raw=raw)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a job has logged."""

    #: Counts the job's lines from 1; the oldest may be gone.
    seq: int
    at: datetime | None
    #: Such as ``INFO``.
    level: str
    logger: str | None
    message: str
    #: The try that wrote it, 1 first.
    attempt: int | None
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(
            seq=raw["seq"],
            at=time_of(raw.get("at")),
            level=raw["level"],
            logger=raw.get("logger"),
            message=raw["message"],
            attempt=raw.get("attempt"),
            raw=raw,
        )
