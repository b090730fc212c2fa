"""From the hash in Redis to a `Job`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backroom.model.job import Job, format_time, trace_id_of
from backroom.model.states import State

__all__ = ["VERSIONED", "QueueSituation", "from_ms", "job_from_record", "ms_of_clock", "try_from_record", "version_of"]

_EPOCH = datetime.fromtimestamp(0, UTC)


def from_ms(value: str | float | None) -> datetime | None:
    """A time from ms since 1970."""
    return None if value is None or value == "" else _EPOCH + timedelta(milliseconds=int(value))


def ms_of_clock(answer: Sequence[int | str]) -> int:
    """What Redis answers to TIME, in ms since 1970."""
    seconds, micros = answer
    return int(seconds) * 1000 + int(micros) // 1000


@dataclass(frozen=True, slots=True)
class QueueSituation:
    """What a queue does to its waiting jobs at the moment."""

    paused: bool = False
    #: ms since 1970, or None.
    limited_until: int | None = None
    concurrency: int | None = None
    active: int = 0

    def reason(self) -> dict[str, Any] | None:
        """Why a waiting job of the queue does not run, or None."""
        if self.paused:
            return {"code": "paused", "detail": "the queue is paused"}
        if self.limited_until is not None:
            return {"code": "rate-limited", "until": format_time(from_ms(self.limited_until))}
        if self.concurrency is not None and self.active >= self.concurrency:
            return {"code": "concurrency", "detail": f"{self.active} of at most {self.concurrency} jobs are running"}
        return None


def _reason(record: Mapping[str, str], state: State, situation: QueueSituation | None) -> dict[str, Any] | None:
    why = record.get("why", "")
    if state is State.DELAYED:
        return {"code": why or "delayed", "until": format_time(from_ms(record.get("runAt")))}
    if state is State.WAITING_CHILDREN:
        return {"code": "dependency"}
    if state is not State.WAITING:
        return None
    reason = situation.reason() if situation else None
    if reason is None and why == "stalled":
        return {"code": "stalled", "detail": f"the process that ran it died; {record.get('stalled', '1')} so far"}
    return reason


def _error(text: str | None) -> dict[str, Any] | None:
    """The public part of a stored error; the engine keeps more in it, to rebuild exceptions."""
    if not text:
        return None
    raw = json.loads(text)
    at = raw.get("at")
    return {
        "type": raw.get("type"),
        "message": raw.get("message"),
        "traceback": raw.get("traceback"),
        "attempt": raw.get("attempt"),
        "at": format_time(from_ms(at)) if at is not None else None,
    }


def try_from_record(text: str) -> dict[str, Any]:
    """An entry of the attempt log as API.md shows it."""
    raw = json.loads(text)
    return {
        "attempt": raw.get("attempt"),
        "startedAt": format_time(from_ms(raw.get("startedAt"))),
        "finishedAt": format_time(from_ms(raw.get("finishedAt"))),
        "worker": raw.get("worker"),
        "outcome": raw.get("outcome"),
        "error": _error(raw.get("error")),
    }


#: What a change of the job changes, in the order of `scripts/update.lua`.
VERSIONED = (
    "state", "data", "priority", "tags", "attempts", "made", "stalled", "ready", "runAt", "started", "finished",
    "progress", "result", "error", "worker", "why", "cancel",
)  # fmt: skip


def version_of(record: Mapping[str, str]) -> str:
    """A short text that changes whenever the job does."""
    text = "\x00".join(record.get(name, "") for name in VERSIONED)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:16]


def job_from_record(
    job_id: str, record: Mapping[str, str], situation: QueueSituation | None, tries: list[str] | None = None
) -> Job:
    """A `Job` from its hash; ``tries`` are the entries of its attempt log, if that was asked for."""
    state = State(record["state"])
    made, stalled = int(record.get("made", 0)), int(record.get("stalled", 0))
    started, ready, finished = record.get("started"), record.get("ready"), record.get("finished")
    error = None if state is State.COMPLETED else _error(record.get("error"))
    attempt_log = None
    if tries is not None:
        attempt_log = [try_from_record(entry) for entry in tries]
        if state is State.COMPLETED:
            attempt_log.append(
                {
                    "attempt": made,
                    "startedAt": format_time(from_ms(started)),
                    "finishedAt": format_time(from_ms(finished)),
                    "worker": record.get("worker"),
                    "outcome": "completed",
                    "error": None,
                }
            )
            attempt_log = attempt_log[-50:]
    return Job(
        id=job_id,
        name=record["name"],
        queue=record["queue"],
        state=state,
        state_reason=_reason(record, state, situation),
        data=json.loads(record["data"]),
        options=json.loads(record.get("options") or "{}"),
        priority=int(record.get("priority", 0)),
        tags=tuple(json.loads(record.get("tags") or "[]")),
        attempts_made=made,
        attempts=int(record.get("attempts", 1)),
        stalled=stalled,
        progress=json.loads(record["progress"]) if record.get("progress") else None,
        result=json.loads(record["result"]) if state is State.COMPLETED and record.get("result") else None,
        error=error,
        created_at=from_ms(record["created"]) or _EPOCH,
        run_at=from_ms(record.get("runAt")),
        started_at=from_ms(started),
        finished_at=from_ms(finished),
        wait_ms=max(0, int(started) - int(ready)) if started and ready and int(started) >= int(ready) else None,
        run_ms=int(record["run"]) if record.get("run") and state is not State.ACTIVE else None,
        worker=record.get("worker"),
        trace_id=trace_id_of(record.get("trace", "")),
        version=version_of(record),
        attempt_log=attempt_log,
    )
