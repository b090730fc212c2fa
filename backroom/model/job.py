"""A job: what a caller submits, and what one reads back."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from backroom.model.errors import InvalidInput, TooLarge
from backroom.model.names import check_name, new_id
from backroom.model.options import JobOptions, check_run_at
from backroom.model.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DEFAULT_QUEUE",
    "DELIVER_WEBHOOK",
    "INTERNAL_QUEUE",
    "Job",
    "NewJob",
    "Submitted",
    "compact_json",
    "format_time",
    "job_links",
    "new_job",
    "trace_id_of",
]

DEFAULT_QUEUE = "default"
#: Deliveries, heartbeats and maintenance; left out of lists, counts and streams unless asked for by name.
INTERNAL_QUEUE = "_internal"
#: The type of the internal jobs that deliver webhooks; no caller may submit one.
DELIVER_WEBHOOK = "backroom.deliver-webhook"
DEFAULT_MAX_DATA_BYTES = 256 * 1024
DEFAULT_MAX_DEPTH = 64
#: Jobs are listed by users' ids up to this length.
MAX_USER_ID_LENGTH = 256


#: Left to the standard library, which refuses them.
_FOREIGN: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def _plain_json(value: object, *, is_parsed: bool = False) -> str | None:
    """``value`` as compact JSON text if that comes back as the same value; None: the standard library is to judge.

    orjson writes some things that are not JSON as something else, such as an enumeration as its value, and refuses
    integers beyond 64 bits. In what was parsed out of JSON (``is_parsed``) there can only be numbers that are too large
    for a float, which it writes as null.
    """
    try:
        text = orjson.dumps(value, option=_FOREIGN)
    except TypeError:
        return None
    if is_parsed and b"null" not in text:
        return text.decode()
    return text.decode() if orjson.loads(text) == value else None


def compact_json(value: object, pointer: str = "") -> str:
    """``value`` as compact JSON text. Raises `InvalidInput` for NaN, infinities, lone surrogates and foreign types."""
    plain = _plain_json(value)
    return _careful_json(value, pointer) if plain is None else plain


def _careful_json(value: object, pointer: str) -> str:
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput.at(pointer, "invalid-unicode", "holds half of a surrogate pair, which is no text") from None
    except ValueError as error:
        raise InvalidInput.at(pointer, "invalid-number", f"is not JSON: {error}") from None
    except (TypeError, RecursionError) as error:
        raise InvalidInput.at(pointer, "invalid-json", f"is not JSON: {error}") from None
    return text


def check_depth(value: object, limit: int, pointer: str = "/data") -> None:
    """Raise `InvalidInput` if objects and arrays are nested more than ``limit`` deep; never recurses."""
    level: list[Iterator[Any]] = []
    current: Iterator[Any] = iter((value,))
    while True:
        for item in current:
            if isinstance(item, dict | list | tuple):
                level.append(current)
                if len(level) > limit:
                    raise InvalidInput.at(pointer, "too-deep", f"is nested more than {limit} levels deep")
                current = iter(item.values()) if isinstance(item, dict) else iter(item)
                break
        else:
            if not level:
                return
            current = level.pop()


def _data_json(data: object, max_depth: int, pointer: str, *, is_parsed: bool) -> str:
    """A job's data as compact JSON text. Raises as `check_depth` and `compact_json` do."""
    plain = _plain_json(data, is_parsed=is_parsed)
    if plain is None or plain.count("{") + plain.count("[") > max_depth:  # fewer cannot be nested deeper
        check_depth(data, max_depth, pointer)
    return _careful_json(data, pointer) if plain is None else plain


def _size(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A valid job that is not stored yet; made by `new_job`."""

    id: str
    #: The job type.
    name: str
    queue: str
    #: Compact JSON text.
    data: str
    #: Complete: the job's own over its type's.
    options: JobOptions
    #: ``userId`` in the data, when it is text: jobs can be listed by it.
    user_id: str | None = None
    #: W3C Trace Context of the caller.
    traceparent: str | None = None
    #: The id of the request that submitted it.
    request_id: str | None = None
    #: What Celery needs to run a task that was submitted through Celery, as JSON text.
    celery: str | None = None


def new_job(  # noqa: PLR0913 - each is given by its name, and most are left out
    *,
    name: str,
    data: object,
    queue: str = DEFAULT_QUEUE,
    options: JobOptions | None = None,
    traceparent: str | None = None,
    request_id: str | None = None,
    celery: str | None = None,
    pointer: str = "",
    is_parsed: bool = False,
    max_data_bytes: int = DEFAULT_MAX_DATA_BYTES,
    max_depth: int = DEFAULT_MAX_DEPTH,
) -> NewJob:
    """Check everything about a job and give it an id.

    ``data`` is any JSON value, ``is_parsed`` says that it came out of JSON, and ``pointer`` is put before the pointers
    of errors. Raises `InvalidInput` for bad names and for data that is not JSON or too deep, `TooLarge` for data above
    ``max_data_bytes`` bytes of compact UTF-8 JSON.
    """
    options = options or JobOptions()
    check_name(name, f"{pointer}/name")
    check_name(queue, f"{pointer}/queue")
    text = _data_json(data, max_depth, f"{pointer}/data", is_parsed=is_parsed)
    if (due := options.run_at_ms()) is not None:
        check_run_at(due, f"{pointer}/options/runAt")
    size = _size(text)
    if size > max_data_bytes:
        raise TooLarge(f"data of the job ({pointer}/data)", max_data_bytes, size)
    user_id = data.get("userId") if isinstance(data, dict) else None
    return NewJob(
        id=options.job_id or new_id(),
        name=name,
        queue=queue,
        data=text,
        options=options,
        user_id=user_id if isinstance(user_id, str) and 0 < len(user_id) <= MAX_USER_ID_LENGTH else None,
        traceparent=traceparent,
        request_id=request_id,
        celery=celery,
    )


class Submitted(msgspec.Struct, frozen=True):
    """The answer to a submission."""

    id: str
    state: State
    #: The id was in use: nothing was stored, and ``state`` is that of the job that has it.
    duplicate: bool
    #: When, in µs since 1970 by the store's clock.
    at_micros: int
    #: Its queue starts nothing at the moment: it is paused, or at one of its limits.
    held: bool

    @property
    def at(self) -> int:
        """When, in ms since 1970."""
        return self.at_micros // 1000

    def due(self, delay_ms: int) -> int:
        """When a delay that began then is over, in ms since 1970: rounded up, as the store does, to be never early."""
        return -(-self.at_micros // 1000) + delay_ms


#: The parts of a W3C ``traceparent``: version, trace id, parent id, flags.
_TRACE_PARTS = 4


def trace_id_of(traceparent: str) -> str | None:
    """The trace id in a W3C ``traceparent``."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == _TRACE_PARTS else None


def format_time(value: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds."""
    if value is None:
        return None
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def job_links(job_id: str) -> dict[str, str]:
    """Where more about a job is, below the address of the API."""
    own = f"/v1/jobs/{job_id}"
    return {"self": own, "result": f"{own}/result", "logs": f"{own}/logs", "events": f"{own}/events"}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A stored job as one reads it."""

    id: str
    name: str
    queue: str
    state: State
    #: ``{code, until?, detail?}``: why it is not running, computed when read; None when nothing is worth saying.
    state_reason: dict[str, Any] | None
    data: Any
    options: dict[str, Any]
    priority: int
    tags: tuple[str, ...]
    #: Tries that came to an outcome.
    attempts_made: int
    #: Total tries allowed.
    attempts: int
    #: How often the process that ran it died.
    stalled: int
    #: ``{percent, message}`` as last reported, or None.
    progress: dict[str, Any] | None
    result: Any
    #: ``{type, message, traceback, attempt, at}`` of the newest failure; None once a later try has succeeded.
    error: dict[str, Any] | None
    created_at: datetime
    #: When a delayed job is due.
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    #: Ready to started, of the newest try, in ms.
    wait_ms: int | None
    #: Started to finished, of the newest try, in ms.
    run_ms: int | None
    #: The id of the worker that has or had it.
    worker: str | None
    #: From the caller's ``traceparent``.
    trace_id: str | None
    #: Changes with every change of the job: what an ETag is made of.
    version: str
    #: Every try with its outcome, newest last, at most 50; None when it was not asked for.
    attempt_log: list[dict[str, Any]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The job in JSON's words, without links."""
        view: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "queue": self.queue,
            "state": str(self.state),
            "stateReason": self.state_reason,
            "data": self.data,
            "options": self.options,
            "priority": self.priority,
            "tags": list(self.tags),
            "attemptsMade": self.attempts_made,
            "attempts": self.attempts,
            "stalled": self.stalled,
            "progress": self.progress,
            "result": self.result,
            "error": self.error,
            "createdAt": format_time(self.created_at),
            "runAt": format_time(self.run_at),
            "startedAt": format_time(self.started_at),
            "finishedAt": format_time(self.finished_at),
            "waitMs": self.wait_ms,
            "runMs": self.run_ms,
            "worker": self.worker,
            "traceId": self.trace_id,
        }
        if self.attempt_log is not None:
            view["attemptLog"] = self.attempt_log
        return view
