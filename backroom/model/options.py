"""Options of a job, with BullMQ's names and units (durations in ms) verbatim."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from backroom.model import backoff as rules
from backroom.model.errors import FieldError, InvalidInput
from backroom.model.names import NAME_PATTERN, check_name
from backroom.model.validation import CamelModel, field_errors
from backroom.model.webhooks import WebhookOption

__all__ = [
    "DAY_MS",
    "LATEST_MS",
    "MAX_ATTEMPTS",
    "MAX_DURATION_MS",
    "MAX_PRIORITY",
    "MAX_TAGS",
    "BackoffOption",
    "JobOptions",
    "Keep",
    "Retention",
    "check_run_at",
    "parse_options",
    "rfc3339",
]

DAY_MS = 86_400_000
#: The longest delay, backoff, time-out or ttl: ten years of 366 days, in ms.
MAX_DURATION_MS = 10 * 366 * DAY_MS
#: Due times in ms since 1970 end here, in 2100: the store counts them in parts of a ms, exactly for so long.
LATEST_MS = 4_102_444_800_000
#: BullMQ's bound; 0 runs first, then 1, 2, ...
MAX_PRIORITY = 2_097_151
MAX_ATTEMPTS = 10_000
MAX_TAGS = 10
_DATE_AND_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")

Milliseconds = Annotated[int, Field(strict=True, ge=0, le=MAX_DURATION_MS)]
PositiveMilliseconds = Annotated[int, Field(strict=True, ge=1, le=MAX_DURATION_MS)]


def rfc3339(value: object) -> object:
    """Only a date and a time: a number, as text too, would be read as Unix seconds or milliseconds, by its size."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE_AND_TIME.match(value)):
        return value
    raise ValueError("must be a time as RFC 3339 text, such as 2030-01-31T09:00:00Z")


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable characters")
    return value


def _name(value: str) -> str:
    try:
        return check_name(value, "")
    except InvalidInput as error:
        raise ValueError(error.errors[0].message) from None


def _once_each(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


JobTag = Annotated[str, Field(strict=True, min_length=1, max_length=128), AfterValidator(_printable)]
JobId = Annotated[str, Field(strict=True, json_schema_extra={"pattern": NAME_PATTERN}), AfterValidator(_name)]


class BackoffOption(CamelModel):
    """How long to wait before a retry: ``fixed``, or ``exponential`` = delay * 2^(n-1) after the n-th try."""

    type: Literal["fixed", "exponential"]
    delay: Milliseconds = 0
    jitter: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0

    def rule(self) -> rules.Backoff:
        """The same as a `backroom.model.backoff` rule, in seconds."""
        kind = rules.Fixed if self.type == "fixed" else rules.Exponential
        return kind(min(self.delay / 1000, rules.MAX_BACKOFF_SECONDS), jitter=self.jitter)


class Retention(CamelModel):
    """How many finished jobs stay: younger than ``age`` seconds, and of those the newest ``count``."""

    age: Annotated[int, Field(strict=True, ge=0, le=MAX_DURATION_MS // 1000)] | None = None
    count: Annotated[int, Field(strict=True, ge=0, le=10_000_000)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.age is None and self.count is None:
            raise ValueError("needs age (seconds), count, or both")
        return self


def _backoff(value: object) -> object:
    """A number is a fixed backoff."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"type": "fixed", "delay": value}
    return value


def _retention(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"count": value}
    return value


def _keep_branch(value: object) -> str | None:
    if isinstance(value, bool):
        return "flag"
    return "retention" if isinstance(value, dict | Retention) else None


#: The names of the branches of `Keep`, which pydantic puts into the place of an error.
_BRANCHES = frozenset({"flag", "retention"})

Keep = Annotated[
    Annotated[
        Annotated[bool, Tag("flag")] | Annotated[Retention, Tag("retention")],
        Discriminator(
            _keep_branch,
            custom_error_type="invalid_retention",
            custom_error_message="must be true, false, a count, or {age: seconds, count}",
        ),
    ],
    BeforeValidator(_retention, json_schema_input_type=bool | Annotated[int, Field(ge=0, le=10_000_000)] | Retention),
]


class JobOptions(CamelModel):
    """What a caller may ask of one job. What is left out falls to the job type's default, then to ours."""

    job_id: JobId | None = None
    attempts: Annotated[int, Field(strict=True, ge=1, le=MAX_ATTEMPTS)] | None = None
    backoff: (
        Annotated[BackoffOption, BeforeValidator(_backoff, json_schema_input_type=Milliseconds | BackoffOption)] | None
    ) = None
    delay: Milliseconds | None = None
    run_at: Annotated[AwareDatetime, BeforeValidator(rfc3339)] | None = None
    priority: Annotated[int, Field(strict=True, ge=0, le=MAX_PRIORITY)] | None = None
    lifo: Annotated[bool, Field(strict=True)] | None = None
    timeout: PositiveMilliseconds | None = None
    ttl: PositiveMilliseconds | None = None
    remove_on_complete: Keep | None = None
    remove_on_fail: Keep | None = None
    max_stalled: Annotated[int, Field(strict=True, ge=0, le=10_000)] | None = None
    tags: Annotated[tuple[JobTag, ...], Field(max_length=MAX_TAGS), AfterValidator(_once_each)] | None = None
    webhook: WebhookOption | None = None

    @model_validator(mode="after")
    def _one_start_time(self) -> Self:
        if self.delay is not None and self.run_at is not None:
            raise ValueError("give delay or runAt, not both")
        return self

    def merged(self, defaults: "JobOptions") -> "JobOptions":
        """These options over ``defaults``: what is given here (and is not null) wins; a start time replaces one."""
        if not self.model_fields_set:
            return defaults
        own = {name for name in self.model_fields_set if getattr(self, name) is not None}
        if not defaults.model_fields_set - own:
            return self
        below = {name: getattr(defaults, name) for name in defaults.model_fields_set - own}
        if own & {"delay", "run_at"}:
            below.pop("delay", None)
            below.pop("run_at", None)
        return self.model_copy(update=below)

    def run_at_ms(self) -> int | None:
        """``runAt`` in ms since 1970, rounded up: never early."""
        if self.run_at is None:
            return None
        since = self.run_at - datetime(1970, 1, 1, tzinfo=UTC)
        return -((-since.days * DAY_MS * 1000 - since.seconds * 1_000_000 - since.microseconds) // 1000)

    def to_dict(self) -> dict[str, Any]:
        """The options that were given, in JSON's words."""
        if not self.model_fields_set:
            return {}
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def check_run_at(due_ms: int, pointer: str) -> None:
    """Raise `InvalidInput` unless the store can keep this due time, in ms since 1970."""
    if not 0 <= due_ms < LATEST_MS:
        raise InvalidInput.at(pointer, "out-of-range", "must be a time from 1970 on and before 2100")


#: Options that will mean something one day, and what to say until then.
_RESERVED = dict.fromkeys(
    ("deduplication", "limits", "parent", "children"),
    "is reserved for a later version and does not work yet",
)
#: BullMQ's options that mean nothing here, and what to do instead.
_FOREIGN = {
    "repeat": "has no meaning here: use PUT /v1/schedules/{key}",
    "repeatJobKey": "has no meaning here: use PUT /v1/schedules/{key}",
    "timestamp": "has no meaning here: the server's clock sets the time of creation",
    "sizeLimit": "has no meaning here: the operator sets BACKROOM_MAX_DATA_BYTES",
    "keepLogs": "has no meaning here: the operator sets BACKROOM_MAX_LOG_LINES",
    "stackTraceLimit": "has no meaning here: the attempt log keeps the newest 50 tries",
    "rateLimiterKey": "has no meaning here: use PUT /v1/queues/{queue}/limits",
    "debounce": "was removed from BullMQ; deduplication comes in a later version",
    "telemetry": "has no meaning here: send a traceparent header",
    "failParentOnFailure": "has no meaning without parent",
    "ignoreDependencyOnFailure": "has no meaning without parent",
    "removeDependencyOnFailure": "has no meaning without parent",
    "continueParentOnFailure": "has no meaning without parent",
}


def parse_options(raw: object, pointer: str = "/options") -> JobOptions:
    """Options from parsed JSON. Raises `InvalidInput` with a pointer under ``pointer`` for everything that is wrong."""
    if raw is None:
        return JobOptions()
    if not isinstance(raw, dict):
        raise InvalidInput.at(pointer, "invalid-type", "must be an object")
    errors = [
        FieldError(f"{pointer}/{name}", "reserved-option" if name in _RESERVED else "foreign-option", hint)
        for name in raw
        if (hint := _RESERVED.get(name) or _FOREIGN.get(name))
    ]
    known = {name: value for name, value in raw.items() if name not in _RESERVED and name not in _FOREIGN}
    try:
        options = JobOptions.model_validate(known, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidInput([*errors, *field_errors(error, pointer, branches=_BRANCHES)]) from None
    if errors:
        raise InvalidInput(errors)
    return options
