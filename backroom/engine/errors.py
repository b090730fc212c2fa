"""Errors of jobs as JSON text: what people read, and enough to rebuild the exception for ``AsyncResult.get``."""

import json
import os
import time
import traceback
from types import TracebackType
from typing import Any

__all__ = ["MAX_MESSAGE", "MAX_TRACEBACK", "error_text", "plain_error"]

#: In bytes of UTF-8, cut in the middle: the head says where it began, the tail what happened.
MAX_TRACEBACK = 16 * 1024
MAX_MESSAGE = 4 * 1024


def _cut(text: str, limit: int) -> str:
    raw = text.encode(errors="replace")
    if len(raw) <= limit:
        return raw.decode()
    half = (limit - 32) // 2
    return raw[:half].decode(errors="ignore") + "\n... (cut) ...\n" + raw[-half:].decode(errors="ignore")


def _jsonable(args: tuple[Any, ...]) -> list[Any] | None:
    try:
        if len(json.dumps(args, allow_nan=False)) <= MAX_MESSAGE:
            return list(args)
    except (TypeError, ValueError, RecursionError):
        pass
    return None


#: Frames of the machinery that every traceback begins with; the job's own come after them.
_MACHINERY = tuple(os.path.join(*parts) for parts in (("celery", "app", "trace.py"), ("backroom", "engine", "jobs.py")))


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the job's own code on, or the whole one if there is none of it."""
    own = trace
    while own is not None and own.tb_frame.f_code.co_filename.endswith(_MACHINERY):
        own = own.tb_next
    return own or trace


def error_text(error: BaseException, *, attempt: int) -> str:
    """The record of an exception: ``{type, message, traceback, attempt, at, module, args}``; ``at`` in ms since 1970."""
    trace = "".join(traceback.format_exception(type(error), error, _own_frames(error.__traceback__)))
    record: dict[str, Any] = {
        "type": type(error).__name__,
        "message": _cut(str(error), MAX_MESSAGE),
        "traceback": _cut(trace, MAX_TRACEBACK),
        "attempt": attempt,
        "at": int(time.time() * 1000),
        "module": type(error).__module__,
    }
    args = _jsonable(error.args)
    if args is not None:
        record["args"] = args
    return json.dumps(record, separators=(",", ":"))


def plain_error(kind: str, message: str, *, attempt: int, module: str = "backroom.model.errors") -> str:
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
