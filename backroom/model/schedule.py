"""Schedules: when a job is to be made again and again, and the slots that follow from it.

Cron follows Debian's cron around changes of daylight saving time (the rules of the ``cronsim`` package): a job at a
fixed hour that the spring change skips runs right after the gap, and one that the autumn change repeats runs once; jobs
with a wildcard hour follow the real time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from cron_descriptor import FormatError, Options, get_description
from cronsim import CronSim, CronSimError
from pydantic import AwareDatetime, BeforeValidator, Field, ValidationError, model_validator

from backroom.model.errors import InvalidInput
from backroom.model.job import DEFAULT_QUEUE
from backroom.model.names import check_name
from backroom.model.options import MAX_DURATION_MS, JobOptions, parse_options, rfc3339
from backroom.model.validation import CamelModel, field_errors

__all__ = ["MAX_CATCH_UP", "MISFIRE_AFTER_MS", "Plan", "ScheduleJob", "ScheduleSpec", "parse_schedule"]

#: A slot fired later than this is a misfire, in ms.
MISFIRE_AFTER_MS = 1000
#: With ``misfire: "all"``, at most this many missed slots are made up; older ones are left out.
MAX_CATCH_UP = 100
#: Longer cron patterns are refused; bounds what parsing one can cost.
MAX_PATTERN = 256
#: The shortest ``every``, in ms.
MIN_EVERY_MS = 100


class ScheduleJob(CamelModel):
    """The job that a schedule makes."""

    name: str
    data: Any = Field(default_factory=dict)
    #: None: the job type's queue.
    queue: str | None = None
    options: JobOptions = JobOptions()


class ScheduleSpec(CamelModel):
    """The definition of a schedule: exactly one of ``pattern`` (cron) and ``every`` (ms)."""

    #: Cron: five fields, or six with seconds first.
    pattern: Annotated[str, Field(strict=True, min_length=1, max_length=MAX_PATTERN)] | None = None
    #: ms between two slots.
    every: Annotated[int, Field(strict=True, ge=MIN_EVERY_MS, le=MAX_DURATION_MS)] | None = None
    #: The IANA time zone that the pattern is read in.
    tz: Annotated[str, Field(strict=True, max_length=64)] = "UTC"
    job: ScheduleJob
    #: No slot before this.
    start_date: Annotated[AwareDatetime, BeforeValidator(rfc3339)] | None = None
    #: No slot after this.
    end_date: Annotated[AwareDatetime, BeforeValidator(rfc3339)] | None = None
    #: It is finished after this many fires.
    limit: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] | None = None
    #: What to do about slots that were missed by more than a second: leave them out, make up one, or (up to 100) all.
    misfire: Literal["skip", "one", "all"] = "one"
    #: False: leave a slot out while the last job waits or runs.
    overlap: Annotated[bool, Field(strict=True)] = True
    paused: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.pattern is None) == (self.every is None):
            raise ValueError("give either pattern (cron) or every (ms)")
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise ValueError("endDate is before startDate")
        return self

    def to_dict(self) -> dict[str, Any]:
        """The definition in JSON's words."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    # Slots, all in ms since 1970.

    def anchor(self, now_ms: int) -> int:
        """Where the grid of ``every`` begins, for a schedule that is made now."""
        return _ms(self.start_date) or now_ms

    def slots_from(self, from_ms: int, anchor: int) -> Iterator[int]:
        """The slots at or after ``from_ms``, in order; ``anchor`` is where the grid of ``every`` begins."""
        from_ms = max(from_ms, _ms(self.start_date) or 0)
        last = _ms(self.end_date)
        for slot in self._every(from_ms, anchor) if self.every else self._cron(from_ms):
            if last is not None and slot > last:
                return
            yield slot

    def _every(self, from_ms: int, anchor: int) -> Iterator[int]:
        every = self.every or 1
        slot = anchor + max(0, math.ceil((from_ms - anchor) / every)) * every
        while True:
            yield slot
            slot += every

    def _cron(self, from_ms: int) -> Iterator[int]:
        # CronSim yields what lies strictly behind its start, in whole seconds.
        start = datetime.fromtimestamp(math.ceil(from_ms / 1000) - 1, ZoneInfo(self.tz))
        for moment in CronSim(self.pattern or "", start):
            yield int(moment.timestamp()) * 1000

    def slots_back(self, until_ms: int, not_before: int, anchor: int) -> Iterator[int]:
        """The slots between ``not_before`` and ``until_ms``, both inclusive, the newest first."""
        last = _ms(self.end_date)
        until_ms = until_ms if last is None else min(until_ms, last)
        if self.every:
            slot = anchor + (until_ms - anchor) // self.every * self.every
            while slot >= max(not_before, anchor):
                yield slot
                slot -= self.every
            return
        start = datetime.fromtimestamp(until_ms // 1000 + 1, ZoneInfo(self.tz))
        for moment in CronSim(self.pattern or "", start, reverse=True):
            slot = int(moment.timestamp()) * 1000
            if slot < not_before:
                return
            yield slot

    def next_slot(self, from_ms: int, anchor: int, fired: int) -> int | None:
        """The first slot at or after ``from_ms``, or None when there is none or the limit is reached."""
        if self.limit is not None and fired >= self.limit:
            return None
        return next(self.slots_from(from_ms, anchor), None)

    def plan(self, due: int, now_ms: int, anchor: int, fired: int) -> "Plan":
        """What to do about the slot ``due``, which is at or before now: which slots to fire, and which is next."""
        most = {"skip": 1, "one": 1, "all": MAX_CATCH_UP}[self.misfire]
        oldest = due if self.misfire != "skip" else max(due, now_ms - MISFIRE_AFTER_MS)
        if now_ms - due <= MISFIRE_AFTER_MS:
            most = MAX_CATCH_UP  # nothing is late: whatever is due by now is fired
        slots = []
        for slot in self.slots_back(now_ms, oldest, anchor):
            slots.append(slot)
            if len(slots) == most:
                break
        slots.reverse()
        if self.limit is not None:
            slots = slots[: self.limit - fired]
        return Plan(tuple(slots), self.next_slot(now_ms + 1, anchor, fired + len(slots)))

    def description(self) -> str:
        """The schedule in words."""
        if self.every:
            return f"Every {_duration(self.every)}"
        options = Options()
        options.use_24hour_time_format = True
        try:
            words = str(get_description(self.pattern or "", options))
        except (FormatError, ValueError, IndexError):
            words = f"Cron {self.pattern}"
        return words if self.tz == "UTC" else f"{words} ({self.tz})"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a due schedule does."""

    #: Slots to fire now, oldest first; may be empty.
    fire: tuple[int, ...]
    #: The next slot, or None: the schedule is finished.
    next: int | None


def _ms(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    return math.ceil((moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def _duration(ms: int) -> str:
    for name, length in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000)):
        if ms % length == 0:
            number = ms // length
            return name if number == 1 else f"{number} {name}s"
    return f"{ms} ms"


def parse_schedule(raw: object, *, default_queue: str = DEFAULT_QUEUE) -> ScheduleSpec:
    """A schedule from parsed JSON. Raises `InvalidInput` with a pointer for everything that is wrong.

    The queue of its job is left as it is given, or set to ``default_queue``.
    """
    if not isinstance(raw, dict):
        raise InvalidInput.at("", "invalid-type", "must be an object")
    job, options = raw.get("job"), JobOptions()
    errors: list[Any] = []
    if isinstance(job, dict):
        try:
            options = parse_options(job.get("options"), "/job/options")
            for name in ("job_id", "delay", "run_at"):
                if name in options.model_fields_set:
                    alias = JobOptions.model_fields[name].alias
                    errors += InvalidInput.at(
                        f"/job/options/{alias}", "foreign-option", "has no meaning in a schedule, which sets it itself"
                    ).errors
        except InvalidInput as error:
            errors += error.errors
        raw = {**raw, "job": {**job, "options": {}}}
    try:
        spec = ScheduleSpec.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidInput([*errors, *field_errors(error)]) from None
    errors += _problems(spec)
    if errors:
        raise InvalidInput(errors)
    queue = spec.job.queue or default_queue
    return spec.model_copy(update={"job": spec.job.model_copy(update={"options": options, "queue": queue})})


def _problems(spec: ScheduleSpec) -> list[Any]:
    """What pydantic could not see."""
    errors: list[Any] = []
    if spec.tz not in available_timezones():
        errors += InvalidInput.at("/tz", "unknown-time-zone", f"{spec.tz!r} is not an IANA time zone").errors
    elif spec.pattern is not None:
        try:
            if next(CronSim(spec.pattern, datetime.now(ZoneInfo(spec.tz))), None) is None:
                errors += InvalidInput.at("/pattern", "never", "never comes").errors
        except (CronSimError, ValueError) as error:
            message = f"is not a cron pattern of 5 fields (or 6, seconds first): {error}"
            errors += InvalidInput.at("/pattern", "invalid-pattern", message).errors
    for pointer, value in (("/job/name", spec.job.name), ("/job/queue", spec.job.queue)):
        if value is not None:
            try:
                check_name(value, pointer)
            except InvalidInput as error:
                errors += error.errors
    return errors
