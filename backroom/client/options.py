"""Jobs as one describes them in Python: Python's words and seconds, as with ``@job``; over HTTP they are BullMQ's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypedDict, runtime_checkable

from backroom.model.backoff import Backoff, Exponential, Fixed, milliseconds_of, seconds_of

__all__ = ["Duration", "Keep", "NewJob", "Options", "Webhook", "data_json", "milliseconds", "options_json", "time_json"]

Duration = float | timedelta
"""Seconds, or a `timedelta`."""


class Keep(TypedDict, total=False):
    """Which finished jobs stay."""

    #: Those younger than this; seconds.
    age: Duration
    #: Of those the newest so many.
    count: int


class Webhook(TypedDict):
    """Who is told how the job fares."""

    url: str
    #: Such as ``["completed", "failed"]``.
    events: Sequence[str]


class Options(TypedDict, total=False):
    """What may be asked of one job. What is left out falls to the job type's default."""

    #: The job's own id. An id in use stores nothing: the answer is the job that has it, with ``duplicate`` true.
    job_id: str
    #: Tries in all.
    attempts: int
    #: Before each further try: `Fixed` or `Exponential`, or a number of seconds.
    backoff: Backoff | Duration
    #: Not before so many seconds from now.
    delay: Duration
    #: Not before this time, which needs a time zone.
    run_at: datetime
    #: 0 runs first, then 1, 2, ... up to 2,097,151.
    priority: int
    #: In front of those of its priority that wait already.
    lifo: bool
    #: A try that takes longer is stopped; seconds.
    timeout: Duration
    #: A job that has not started this long after it was ready expires; seconds.
    ttl: Duration
    #: Whether to remove the job when it completes: yes, no, keep so many, or keep those of an age.
    remove_on_complete: bool | int | Keep
    #: The same for when it fails.
    remove_on_fail: bool | int | Keep
    #: How often the process that runs it may die.
    max_stalled: int
    #: Up to 10 words to find it by.
    tags: Sequence[str]
    webhook: Webhook


@runtime_checkable
class _Model(Protocol):
    """What pydantic's models have."""

    def model_dump(self, *, mode: str, by_alias: bool) -> Any:
        """The model as JSON values."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be submitted, or to be made by a schedule."""

    #: The job type.
    name: str
    #: Any JSON value, or a pydantic model.
    data: Any = field(default_factory=dict)
    #: None: the queue of the job type.
    queue: str | None = None
    options: Options = field(default_factory=Options)

    def to_json(self) -> dict[str, Any]:
        """The job in the words of the API. Raises `ValueError` or `TypeError` for an option that is none."""
        body: dict[str, Any] = {"name": self.name, "data": data_json(self.data)}
        if self.queue is not None:
            body["queue"] = self.queue
        if self.options:
            body["options"] = options_json(self.options)
        return body


def data_json(data: object) -> object:
    """A pydantic model as JSON values; anything else as it is."""
    return data.model_dump(mode="json", by_alias=True) if isinstance(data, _Model) else data


def milliseconds(duration: Duration) -> int:
    """A duration as the API has it."""
    return milliseconds_of(duration)


def time_json(moment: datetime) -> str:
    """RFC 3339. Raises `ValueError` without a time zone: whose clock should it be?"""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: make it aware, such as with .astimezone()")
    return moment.astimezone(UTC).isoformat()


def _backoff_json(backoff: Backoff | Duration) -> object:
    if isinstance(backoff, Exponential | Fixed):
        kind = "exponential" if isinstance(backoff, Exponential) else "fixed"
        return {"type": kind, "delay": milliseconds(backoff.delay), "jitter": backoff.jitter}
    if isinstance(backoff, int | float | timedelta):
        return milliseconds(backoff)
    raise TypeError(f"backoff is Fixed(seconds), Exponential(seconds) or seconds, not {backoff!r}")


def _keep_json(keep: bool | int | Keep) -> object:  # noqa: FBT001 - an option's value, not a switch
    if isinstance(keep, int):
        return keep
    return {**keep, "age": round(seconds_of(keep["age"]))} if "age" in keep else dict(keep)


def _same(value: object) -> object:
    return value


_WORDS: Final[Mapping[str, tuple[str, Callable[[Any], object]]]] = {
    "job_id": ("jobId", _same),
    "attempts": ("attempts", _same),
    "backoff": ("backoff", _backoff_json),
    "delay": ("delay", milliseconds),
    "run_at": ("runAt", time_json),
    "priority": ("priority", _same),
    "lifo": ("lifo", _same),
    "timeout": ("timeout", milliseconds),
    "ttl": ("ttl", milliseconds),
    "remove_on_complete": ("removeOnComplete", _keep_json),
    "remove_on_fail": ("removeOnFail", _keep_json),
    "max_stalled": ("maxStalled", _same),
    "tags": ("tags", list),
    "webhook": ("webhook", _same),
}


def options_json(options: Options) -> dict[str, object]:
    """Options in the words of the API: BullMQ's names, durations in ms; what is None is left out.

    Raises `TypeError` for a name that is none, `ValueError` for a time without a zone.
    """
    found: dict[str, object] = {}
    for name, value in options.items():
        if name not in _WORDS:
            raise TypeError(f"{name!r} is not an option of a job; there are {', '.join(_WORDS)}")
        word, convert = _WORDS[name]
        if value is not None:
            found[word] = convert(value)
    return found
