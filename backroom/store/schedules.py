"""Schedules in Redis: kept, listed, and fired exactly once a slot however many schedulers run."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from backroom.model.errors import NotFound
from backroom.model.job import NewJob, format_time, new_job
from backroom.model.schedule import ScheduleSpec
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.records import from_ms
from backroom.store.scripts import pack
from backroom.store.submission import Submission, record_of

__all__ = ["CODE_PREFIX", "ScheduleView", "Schedules"]

#: Keys of schedules that are defined in code begin with this; it cannot stand in a key that comes over HTTP.
CODE_PREFIX = "code:"
#: Fire times shown of a schedule.
SHOWN_SLOTS = 5
#: Schedules looked at in one go.
DUE_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as one reads it."""

    key: str
    spec: ScheduleSpec
    state: Literal["active", "paused", "finished"]
    #: The next slots, ms since 1970.
    next: tuple[int, ...]
    #: ``{slot, at, jobId}``, newest first, at most 10; times in ms since 1970.
    last_fires: tuple[dict[str, Any], ...]
    fire_count: int

    def to_dict(self) -> dict[str, Any]:
        """The schedule in JSON's words."""
        spec = self.spec.to_dict()
        return {
            "key": self.key,
            "pattern": spec.get("pattern"),
            "every": spec.get("every"),
            "tz": spec["tz"],
            "description": self.spec.description(),
            "job": {**spec["job"], "options": self.spec.job.options.to_dict()},
            "startDate": format_time(self.spec.start_date),
            "endDate": format_time(self.spec.end_date),
            "limit": self.spec.limit,
            "misfire": self.spec.misfire,
            "overlap": self.spec.overlap,
            "paused": self.state == "paused",
            "state": self.state,
            "next": [format_time(from_ms(slot)) for slot in self.next],
            "lastFires": [
                {"slot": format_time(from_ms(f["slot"])), "at": format_time(from_ms(f["at"])), "jobId": f["jobId"]}
                for f in self.last_fires
            ],
            "fireCount": self.fire_count,
        }


class Schedules(Part):
    """``schedules`` is a sorted set: key -> next slot; each has a hash, its definition, and a list of last fires."""

    def put(self, key: str, spec: ScheduleSpec) -> bool:
        """Create or replace a schedule. True if it is new.

        An unchanged rhythm keeps its grid and its next slot; a changed one begins anew now.
        """
        now = self._now_ms()
        before = self._read(key)
        anchor, count, due = spec.anchor(now), 0, None
        if before is not None:
            old = _spec(before)
            count = int(before["count"])
            rhythm = (old.pattern, old.every, old.tz, old.start_date)
            if rhythm == (spec.pattern, spec.every, spec.tz, spec.start_date):
                anchor = int(before["anchor"])
                due = int(before["next"]) if before["next"] and before["paused"] == "0" else None
        upcoming = spec.next_slot(due if due is not None else now, anchor, count)
        definition = json.dumps({**spec.to_dict(), "options": spec.job.options.to_dict()}, separators=(",", ":"))
        return bool(
            self._run(
                "put_schedule",
                key,
                definition,
                "1" if spec.paused else "0",
                "1" if spec.overlap else "0",
                "" if upcoming is None else upcoming,
                anchor,
            )
        )

    def put_code(self, specs: Mapping[str, ScheduleSpec], offered: Iterable[str]) -> None:
        """Bring the schedules of code in line with a worker's: ``specs`` by job type, of the types it has ``offered``.

        One that people have paused stays paused; one that its job type no longer has is removed.
        """
        for name, wanted in specs.items():
            before = self._read(CODE_PREFIX + name)
            spec = wanted
            if before is not None and before["paused"] == "1":
                spec = wanted.model_copy(update={"paused": True})
            if before is None or _spec(before) != spec:
                self.put(CODE_PREFIX + name, spec)
        for name in offered:
            if name not in specs:
                self._run("remove_schedule", CODE_PREFIX + name)

    def get(self, key: str) -> ScheduleView:
        """One schedule. Raises `NotFound`."""
        record = self._read(key)
        if record is None:
            raise NotFound("schedule", key)
        with store_errors():
            fires = self._redis.lrange(self._keys.single(f"schedule:{key}:fires"), 0, -1)
        return _view(key, record, fires, self._now_ms())

    def pause(self, key: str) -> None:
        """Fire no more until `resume`, which makes up nothing. Raises `NotFound`."""
        self._set_paused(key, paused=True)

    def resume(self, key: str) -> None:
        """Go on with the first slot from now on. Raises `NotFound`."""
        self._set_paused(key, paused=False)

    def remove(self, key: str) -> None:
        """Remove a schedule; the jobs it has made stay. Raises `NotFound`."""
        if not self._run("remove_schedule", key):
            raise NotFound("schedule", key)

    def run(self, key: str) -> str:
        """Make its job now, outside its slots. Returns the job's id. Raises `NotFound`."""
        record = self._read(key)
        if record is None:
            raise NotFound("schedule", key)
        job = _job(_spec(record))
        Submission(self._redis, self._keys, self._scripts).submit([job])
        return job.id

    # Firing.

    def next_due_in(self) -> int | None:
        """Ms until the earliest next slot (0: it is due), or None."""
        with store_errors():
            first = self._redis.zrange(self._keys.single("schedules"), 0, 0, withscores=True)
        return max(0, int(float(first[0][1])) - self._now_ms()) if first else None

    def fire_due(self) -> int:
        """Fire every schedule whose slot is due. Returns how many jobs were made."""
        made = 0
        while True:
            now = self._now_ms()
            with store_errors():
                due = self._redis.execute_command(
                    "ZRANGE", self._keys.single("schedules"), "-inf", now, "BYSCORE", "LIMIT", 0, DUE_AT_ONCE
                )
            for key in due:
                made += self._fire(key, now)
            if len(due) < DUE_AT_ONCE:
                return made

    def _fire(self, key: str, now: int) -> int:
        record = self._read(key)
        if record is None or not record["next"]:
            return 0
        spec, due = _spec(record), int(record["next"])
        plan = spec.plan(due, now, int(record["anchor"]), int(record["count"]))
        fires = [{"slot": slot, "job": record_of(_job(spec))} for slot in plan.fire]
        upcoming = "" if plan.next is None else plan.next
        answer = self._run("fire", key, due, record["revision"], pack(fires), upcoming)
        return len(fires) if answer == "fired" else 0

    def _set_paused(self, key: str, *, paused: bool) -> None:
        record = self._read(key)
        if record is None:
            raise NotFound("schedule", key)
        upcoming = _spec(record).next_slot(self._now_ms(), int(record["anchor"]), int(record["count"]))
        if not self._run("pause_schedule", key, "1" if paused else "0", "" if upcoming is None else upcoming):
            raise NotFound("schedule", key)

    def _read(self, key: str) -> dict[str, str] | None:
        with store_errors():
            return self._redis.hgetall(self._keys.single(f"schedule:{key}")) or None

    def _now_ms(self) -> int:
        with store_errors():
            seconds, micros = self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def list(self) -> list[ScheduleView]:
        """All schedules, by creation."""
        with store_errors():
            keys = self._redis.zrange(self._keys.single("schedules:all"), 0, -1)
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hgetall(self._keys.single(f"schedule:{key}"))
                pipeline.lrange(self._keys.single(f"schedule:{key}:fires"), 0, -1)
            answers = pipeline.execute()
        now = self._now_ms()
        found = zip(keys, answers[::2], answers[1::2], strict=True)
        return [_view(key, record, fires, now) for key, record, fires in found if record]


def _spec(record: dict[str, str]) -> ScheduleSpec:
    raw = json.loads(record["definition"])
    raw["job"]["options"] = raw.pop("options")
    return ScheduleSpec.model_validate(raw)


def _job(spec: ScheduleSpec) -> NewJob:
    return new_job(name=spec.job.name, data=spec.job.data, queue=spec.job.queue or "default", options=spec.job.options)


def _view(key: str, record: dict[str, str], fires: Sequence[str], now: int) -> ScheduleView:
    spec, count = _spec(record), int(record["count"])
    upcoming: tuple[int, ...] = ()
    state: Literal["active", "paused", "finished"] = "paused" if record["paused"] == "1" else "active"
    if record["paused"] == "0" and not record["next"]:
        state = "finished"
    elif state == "active":
        shown = SHOWN_SLOTS if spec.limit is None else min(SHOWN_SLOTS, spec.limit - count)
        upcoming = tuple(islice(spec.slots_from(max(now, int(record["next"])), int(record["anchor"])), shown))
    return ScheduleView(key, spec, state, upcoming, tuple(json.loads(fire) for fire in fires), count)
