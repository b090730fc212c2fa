"""Reading single jobs: the record, the result, the log."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from backroom.model.errors import NotFound
from backroom.model.job import Job, format_time
from backroom.model.states import State
from backroom.store.connection import store_errors
from backroom.store.keys import PART_OF_JOB
from backroom.store.part import Part
from backroom.store.records import from_ms, job_from_record
from backroom.store.situations import read_situations

__all__ = ["Inspection", "LogLine", "LogPage", "Place"]


class Place(NamedTuple):
    """Where a job belongs."""

    queue: str
    #: Its job type.
    name: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a job's log."""

    #: Counts the job's lines from 1.
    seq: int
    at: datetime | None
    level: str
    logger: str
    message: str
    attempt: int

    def to_dict(self) -> dict[str, Any]:
        """The line in JSON's words."""
        return {
            "seq": self.seq,
            "at": format_time(self.at),
            "level": self.level,
            "logger": self.logger,
            "message": self.message,
            "attempt": self.attempt,
        }


@dataclass(frozen=True, slots=True)
class LogPage:
    """Some log lines, and the number to give as ``after`` to go on (None: these are all so far)."""

    logs: list[LogLine]
    next: int | None


class Inspection(Part):
    """Reading jobs."""

    def get(self, job_id: str, *, attempts: bool = False) -> Job:
        """The job, with its attempt log if ``attempts``. Raises `NotFound`."""
        _check_id(job_id)
        tries = None
        if attempts:
            fields, tries = self._run("read", job_id)
            record = dict(zip(fields[::2], fields[1::2], strict=True))
        else:
            with store_errors():
                record = self._redis.hgetall(self._keys.job(job_id))
        if not record:
            raise NotFound("job", job_id)
        situation = {}
        if record["state"] == State.WAITING:
            with store_errors():
                situation = read_situations(self._redis, self._keys, [record["queue"]])
        return job_from_record(job_id, record, situation.get(record["queue"]), tries)

    def record(self, job_id: str) -> dict[str, str] | None:
        """The job as the store keeps it, field by field, or None: for the engine, which must rebuild exceptions."""
        with store_errors():
            return self._redis.hgetall(self._keys.job(job_id)) or None

    def result(self, job_id: str) -> tuple[State, str | None]:
        """The job's state, and its result as JSON text if it is completed. Raises `NotFound`."""
        _check_id(job_id)
        with store_errors():
            state, result = self._redis.hmget(self._keys.job(job_id), "state", "result")
        if state is None:
            raise NotFound("job", job_id)
        return State(state), result if state == State.COMPLETED else None

    def states(self, job_ids: Sequence[str]) -> list[State | None]:
        """The states of jobs; None for those that are not there."""
        asked = [job_id for job_id in job_ids if not PART_OF_JOB.search(job_id)]
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for job_id in asked:
                pipeline.hget(self._keys.job(job_id), "state")
            found = dict(zip(asked, pipeline.execute(), strict=True))
        return [State(state) if (state := found.get(job_id)) else None for job_id in job_ids]

    def places(self, job_ids: Sequence[str]) -> list[Place | None]:
        """The queues and types of jobs; None for those that are not there."""
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for job_id in job_ids:
                pipeline.hmget(self._keys.job(job_id), "queue", "name")
            found = pipeline.execute()
        return [None if queue is None else Place(queue, name) for queue, name in found]

    def logs(self, job_id: str, *, after: int = 0, limit: int = 100) -> LogPage:
        """Log lines with numbers above ``after``, oldest first, at most ``limit``. Raises `NotFound`."""
        _check_id(job_id)
        answer = self._run("logs", job_id, after, limit)
        if not answer:
            raise NotFound("job", job_id)
        first, newest, lines = answer
        found = [_line(first + place, text) for place, text in enumerate(lines)]
        return LogPage(found, found[-1].seq if found and found[-1].seq < newest else None)


def _check_id(job_id: str) -> None:
    """Raise `NotFound` for what would be a key of something else, and is no hash."""
    if PART_OF_JOB.search(job_id):
        raise NotFound("job", job_id)


def _line(seq: int, text: str) -> LogLine:
    raw = json.loads(text)
    return LogLine(seq, from_ms(raw["at"]), raw["level"], raw["logger"], raw["message"], raw["attempt"])
