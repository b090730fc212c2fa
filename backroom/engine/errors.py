"""Errors of jobs as JSON text: what people read, and enough to rebuild the exception for ``AsyncResult.get``."""

import json
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from kombu.utils.json import dumps as celery_dumps
from kombu.utils.json import loads as celery_loads

__all__ = [
    "MAX_MESSAGE",
    "MAX_TRACEBACK",
    "celery_error",
    "clean",
    "error_text",
    "failure_text",
    "message_of",
    "plain_error",
]

#: In bytes of UTF-8, cut in the middle: the head says where it began, the tail what happened.
MAX_TRACEBACK = 16 * 1024
MAX_MESSAGE = 4 * 1024
#: Said to be the home of errors that no code has raised.
OWN_MODULE = "backroom.model.errors"


def clean(text: str) -> str:
    """The text without lone surrogates, as in names of files that are no UTF-8: not every JSON parser takes those."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _cut(text: str, limit: int) -> str:
    raw = text.encode(errors="replace")
    if len(raw) <= limit:
        return raw.decode()
    half = (limit - 32) // 2
    return raw[:half].decode(errors="ignore") + "\n... (cut) ...\n" + raw[-half:].decode(errors="ignore")


def _jsonable(args: tuple[Any, ...]) -> list[Any] | None:
    """The arguments of an exception in Celery's JSON, texts in place of what has no form in it; None: too large."""
    found = []
    for arg in args:
        try:
            text = celery_dumps(arg)
            json.dumps(json.loads(text), ensure_ascii=False).encode()  # lone surrogates raise, see `clean`
            found.append(json.loads(text))
        except (TypeError, ValueError, RecursionError):
            found.append(clean(repr(arg)))
    return found if len(json.dumps(found)) <= MAX_MESSAGE else None


#: Frames of the machinery that every traceback begins with; the job's own come after them.
_MACHINERY = (str(Path("celery", "app", "trace.py")), str(Path("backroom", "engine", "jobs.py")))


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the job's own code on, or the whole one if there is none of it."""
    own = trace
    while own is not None and own.tb_frame.f_code.co_filename.endswith(_MACHINERY):
        own = own.tb_next
    return own or trace


def message_of(error: BaseException) -> str:
    """The text of an exception, whatever its ``__str__`` does."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever its __str__ is made of
        return "(its text cannot be had: __str__ fails)"


def error_text(error: BaseException, *, attempt: int) -> str:
    """The record of an exception: ``{type, message, traceback, attempt, at, module, args}``; ``at``: ms since 1970."""
    trace = "".join(traceback.format_exception(type(error), error, _own_frames(error.__traceback__)))
    record: dict[str, Any] = {
        "type": type(error).__name__,
        "message": _cut(message_of(error), MAX_MESSAGE),
        "traceback": _cut(trace, MAX_TRACEBACK),
        "attempt": attempt,
        "at": int(time.time() * 1000),
        "module": type(error).__module__,
    }
    if type(error).__qualname__ != record["type"]:
        record["qualname"] = type(error).__qualname__
    args = _jsonable(error.args)
    if args is not None:
        record["args"] = args
    return json.dumps(record, separators=(",", ":"))


def plain_error(kind: str, message: str, *, attempt: int, module: str = OWN_MODULE) -> str:
    """The record of something that went wrong outside the job's own code."""
    record = {
        "type": kind,
        "message": _cut(message, MAX_MESSAGE),
        "traceback": None,
        "attempt": attempt,
        "at": int(time.time() * 1000),
        "module": module,
        "args": [message],
    }
    return json.dumps(record, separators=(",", ":"))


def failure_text(given: Any, *, attempt: int) -> str:
    """The record of what Celery was given as a failure's result: an exception, or ``update_state``'s dictionary."""
    if isinstance(given, BaseException):
        return error_text(given, attempt=attempt)
    told = given if isinstance(given, dict) else {"exc_message": given}
    message = told.get("exc_message", told if "exc_type" not in told else "")
    args = tuple(message) if isinstance(message, list | tuple) else (message,)
    kind = str(told.get("exc_type", "Exception"))
    text = plain_error(
        kind, " ".join(str(arg) for arg in args), attempt=attempt, module=str(told.get("exc_module", "builtins"))
    )
    return json.dumps(json.loads(text) | {"args": _jsonable(args)}, separators=(",", ":"))


#: The exceptions that Celery has for errors which no code has raised.
_CELERY_NAMES = {
    "Stalled": ("WorkerLostError", "billiard.exceptions"),
    "TimeLimitExceeded": ("TimeLimitExceeded", "billiard.exceptions"),
    "NotRegistered": ("NotRegistered", "celery.exceptions"),
}


def celery_error(error: dict[str, Any]) -> dict[str, Any]:
    """An error record in the form that Celery rebuilds exceptions from."""
    kind, module = error.get("qualname") or error.get("type") or "Exception", error.get("module")
    if module in {None, OWN_MODULE}:
        kind, module = _CELERY_NAMES.get(kind, (kind, module))
    args = error.get("args")
    message = [error.get("message")] if args is None else celery_loads(json.dumps(args))
    return {"exc_type": kind, "exc_module": module, "exc_message": message}
