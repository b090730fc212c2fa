"""Schedules: when a job is to be made again and again, and the slots that follow from it.

A slot is the instant, in ms since 1970, that one job is made for. ``every`` names a grid of them in real time; a cron
pattern names them by the clock of a time zone, see `backroom.model.cron`.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from cron_descriptor import (
    FormatError,
    MissingFieldError,
    Options,
    WrongArgumentError,
    get_description,
)
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, ValidationError

from backroom.model.cron import cron_of
from backroom.model.errors import FieldError, InvalidInput
from backroom.model.job import DEFAULT_QUEUE, NewJob, new_job
from backroom.model.names import check_name
from backroom.model.options import LATEST_MS, MAX_DURATION_MS, JobOptions, parse_options, rfc3339
from backroom.model.validation import CamelModel, field_errors

__all__ = ["MAX_CATCH_UP", "MISFIRE_AFTER_MS", "Plan", "ScheduleJob", "ScheduleSpec", "parse_schedule"]

#: A slot fired later than this is a misfire, in ms.
MISFIRE_AFTER_MS = 1000
#: At most this many slots are fired at once; of slots that were missed, older ones are left out.
MAX_CATCH_UP = 100
#: Longer cron patterns are refused; bounds what parsing one can cost.
MAX_PATTERN = 256
#: The shortest ``every``, in ms.
MIN_EVERY_MS = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Options that a schedule sets itself, job by job.
_OWN_OPTIONS = ("job_id", "delay", "run_at")


def _in_utc(value: datetime) -> datetime:
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        value = datetime.min.replace(tzinfo=UTC)
    if value < _EPOCH:
        raise ValueError("must be a time from 1970 to 9999")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(rfc3339), AfterValidator(_in_utc)]


class ScheduleJob(CamelModel):
    """The job that a schedule makes."""

    name: Annotated[str, Field(strict=True, description="A published job type.")]
    data: Any = Field(default_factory=dict, description="What each job gets; an empty object if left out.")
    queue: Annotated[str, Field(strict=True)] | None = Field(
        default=None, description="Left out: the queue of the job type."
    )
    options: JobOptions = Field(
        default=JobOptions(),
        description="As for a submission; jobId, delay and runAt are refused, for the schedule sets them.",
    )


class ScheduleSpec(CamelModel):
    """The definition of a schedule. Made by `parse_schedule`, which checks more than the types say."""

    pattern: Annotated[str, Field(strict=True, min_length=1, max_length=MAX_PATTERN)] | None = Field(
        default=None, description="Cron: five fields, or six with seconds first. Either this or 'every'."
    )
    every: Annotated[int, Field(strict=True, ge=MIN_EVERY_MS, le=MAX_DURATION_MS)] | None = Field(
        default=None, description="Ms from slot to slot. The first is at once, or at startDate."
    )
    tz: Annotated[str, Field(strict=True, max_length=64)] = Field(
        default="UTC", description="The IANA time zone that the pattern is read in."
    )
    job: ScheduleJob
    start_date: Moment | None = Field(default=None, description="No slot before this; the grid of 'every' begins here.")
    end_date: Moment | None = Field(default=None, description="No slot after this.")
    limit: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] | None = Field(
        default=None, description="It is finished after so many fires."
    )
    misfire: Literal["skip", "one", "all"] = Field(
        default="one",
        description="What becomes of slots that are over a second late: left out, made up by one job, or all (the "
        f"newest {MAX_CATCH_UP}).",
    )
    overlap: Annotated[bool, Field(strict=True)] = Field(
        default=True, description="False: leave a slot out while a job of this schedule waits or runs."
    )
    paused: Annotated[bool, Field(strict=True)] | None = Field(
        default=None, description="Left out: as it is; a new one is active."
    )

    def definition(self) -> dict[str, Any]:
        """The schedule in JSON's words, but for the data of its job and whether it is paused."""
        shown = self.model_dump(mode="json", by_alias=True, exclude={"job", "paused"}, exclude_none=True)
        return shown | {
            "job": {"name": self.job.name, "queue": self.job.queue, "options": self.job.options.to_dict()},
        }

    def template(self, defaults: JobOptions | None = None) -> NewJob:
        """What its jobs are made of; ``defaults`` are the options of the job type. Raises as `new_job` does."""
        options = self.job.options if defaults is None else self.job.options.merged(defaults)
        queue = self.job.queue or DEFAULT_QUEUE
        return new_job(name=self.job.name, data=self.job.data, queue=queue, options=options, pointer="/job")

    def rhythm(self) -> tuple[object, ...]:
        """What the slots follow from. While it stays the same, the schedule goes on as before."""
        return self.pattern, self.every, self.tz, self.start_date

    # Slots, all in ms since 1970.

    def anchor(self, now_ms: int) -> int:
        """Where the grid of ``every`` begins, for a schedule that is made now."""
        return now_ms if self.start_date is None else _ms(self.start_date)

    def slots_from(self, from_ms: int, anchor: int) -> Iterator[int]:
        """The slots at or after ``from_ms``, in order; ``anchor`` is where the grid of ``every`` begins."""
        if self.start_date is not None:
            from_ms = max(from_ms, _ms(self.start_date))
        last = LATEST_MS - 1 if self.end_date is None else min(LATEST_MS - 1, _ms(self.end_date))
        slots = self._cron(from_ms) if self.every is None else self._grid(from_ms, anchor, self.every)
        return takewhile(lambda slot: slot <= last, slots)

    @staticmethod
    def _grid(from_ms: int, anchor: int, every: int) -> Iterator[int]:
        slot = anchor + max(0, -((anchor - from_ms) // every)) * every
        while True:
            yield slot
            slot += every

    def _cron(self, from_ms: int) -> Iterator[int]:
        for instant in cron_of(self.pattern or "", self.tz).instants(-(-from_ms // 1000)):
            yield instant * 1000

    def next_slot(self, from_ms: int, anchor: int, fired: int = 0) -> int | None:
        """The first slot at or after ``from_ms``, or None when there is none or it has ``fired`` as often as it may."""
        if self.limit is not None and fired >= self.limit:
            return None
        return next(self.slots_from(from_ms, anchor), None)

    def plan(self, due: int, now_ms: int, anchor: int, *, since_ms: int | None = None) -> "Plan":
        """What to do about the slot ``due``, which is at or before now. The limit is the store's business.

        ``since_ms`` is since when a scheduler has been firing without a pause: no slot is missed that was in time then,
        and only waits for its turn.
        """
        oldest, most = due, MAX_CATCH_UP if self.overlap else 1
        seen = now_ms if since_ms is None else since_ms
        if seen - due > MISFIRE_AFTER_MS:
            if self.misfire == "skip":
                oldest = seen - MISFIRE_AFTER_MS
            elif self.misfire == "one":
                most = 1
        return Plan(self._newest(oldest, now_ms, anchor, most), self.next_slot(now_ms + 1, anchor))

    def _newest(self, oldest: int, until: int, anchor: int, most: int) -> tuple[int, ...]:
        """The newest slots from ``oldest`` to ``until``, in order. Looks back step by step: there may be millions."""
        step = MISFIRE_AFTER_MS
        while True:
            start = max(oldest, until - step)
            found = deque(takewhile(lambda slot: slot <= until, self.slots_from(start, anchor)), maxlen=most)
            if len(found) == most or start == oldest:
                return tuple(found)
            step *= 4

    def description(self) -> str:
        """The schedule in words."""
        if self.every is not None:
            return f"Every {_duration(self.every)}"
        try:
            words = str(get_description(self.pattern or "", Options(locale_code="en_US", use_24hour_time_format=True)))
        except (FormatError, MissingFieldError, WrongArgumentError, ValueError, LookupError):
            words = f"Cron {self.pattern}"  # it knows less of cron than we do
        return words if self.tz == "UTC" else f"{words} ({self.tz})"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a due schedule does."""

    #: Slots to fire now, oldest first; may be empty.
    fire: tuple[int, ...]
    #: The next slot, unless it has fired as often as it may; None: there is none.
    next: int | None


def _ms(moment: datetime) -> int:
    """In ms since 1970, rounded up: never early."""
    return math.ceil((moment - _EPOCH) / timedelta(milliseconds=1))


def _duration(ms: int) -> str:
    for name, length in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000)):
        if ms % length == 0:
            number = ms // length
            return name if number == 1 else f"{number} {name}s"
    return f"{ms} ms"


@cache
def _zones() -> frozenset[str]:
    """Every time zone there is; found by a walk through a tree of files."""
    return frozenset(available_timezones())


def parse_schedule(raw: object) -> ScheduleSpec:
    """A schedule from parsed JSON. Raises `InvalidInput` with a pointer for everything that is wrong.

    The data of its job is not looked at: `ScheduleSpec.template` does.
    """
    if not isinstance(raw, dict):
        raise InvalidInput.at("", "invalid-type", "must be an object")
    errors: list[FieldError] = []
    options = JobOptions()
    job = raw.get("job")
    if isinstance(job, dict):
        try:
            options = _template_options(job.get("options"))
        except InvalidInput as error:
            errors += error.errors
        raw = {**raw, "job": {name: value for name, value in job.items() if name != "options"}}
    try:
        spec = ScheduleSpec.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidInput([*field_errors(error), *errors]) from None
    errors += _problems(spec)
    if errors:
        raise InvalidInput(errors)
    return spec.model_copy(update={"job": spec.job.model_copy(update={"options": options})})


def _template_options(raw: object) -> JobOptions:
    options = parse_options(raw, "/job/options")
    own = [
        FieldError(
            f"/job/options/{JobOptions.model_fields[name].alias}",
            "foreign-option",
            "has no meaning in a schedule, which gives each job its id and its time",
        )
        for name in _OWN_OPTIONS
        if name in options.model_fields_set
    ]
    if own:
        raise InvalidInput(own)
    return options


def _problems(spec: ScheduleSpec) -> list[FieldError]:
    """What pydantic could not see."""
    errors: list[FieldError] = []
    for pointer, value in (("/job/name", spec.job.name), ("/job/queue", spec.job.queue)):
        if value is not None:
            try:
                check_name(value, pointer)
            except InvalidInput as error:
                errors += error.errors
    if spec.pattern is None and spec.every is None:
        errors.append(FieldError("/pattern", "required", "is required: a cron pattern, or 'every' in ms"))
    if spec.pattern is not None and spec.every is not None:
        errors.append(FieldError("/every", "not-both", "must not stand beside 'pattern'"))
    if spec.tz not in _zones():
        errors.append(FieldError("/tz", "unknown-time-zone", f"{spec.tz!r} is no IANA time zone"))
    elif spec.pattern is not None:
        errors += _pattern_problems(spec.pattern, spec.tz)
    if spec.start_date is not None and spec.start_date.timestamp() * 1000 >= LATEST_MS:
        errors.append(FieldError("/startDate", "out-of-range", "must be a time before 2100"))
    if spec.start_date is not None and spec.end_date is not None and spec.end_date < spec.start_date:
        errors.append(FieldError("/endDate", "out-of-range", "is before startDate"))
    return errors


def _pattern_problems(pattern: str, tz: str) -> list[FieldError]:
    try:
        comes = next(cron_of(pattern, tz).instants(0), None) is not None
    except ValueError as error:
        message = f"is no cron pattern of 5 fields, or 6 with seconds first: {error}"
        return [FieldError("/pattern", "invalid-pattern", message)]
    return [] if comes else [FieldError("/pattern", "never", "names no day that ever comes")]
