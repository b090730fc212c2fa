"""Words of the command line: durations, rates, times and JSON as people type them, and as they like to read them."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from backroom.client.answers.queues import Rate
from backroom.client.options import Duration
from backroom.model.backoff import Backoff, Exponential

__all__ = [
    "BACKOFF",
    "DURATION",
    "JSON",
    "MOMENT",
    "RATE",
    "SINCE",
    "ago",
    "clock_time",
    "duration_text",
    "moment_text",
]

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_PLAIN: Final = re.compile(r"\d+(?:\.\d+)?\Z", re.ASCII)


def _seconds(text: str) -> float:
    """``1h30m``, ``250ms``, or plain seconds. Raises `ValueError`."""
    text = text.strip().lower()
    if _PLAIN.match(text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 30s, 1h30m, 250ms, or a number of seconds")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


class _Duration(click.ParamType[float]):
    """Seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it, or tell how it is written."""
        try:
            return _seconds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Rate(click.ParamType[Rate]):
    """So many in such a time: ``10/1s``, ``600/m``."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Rate:
        """Read it, or tell how it is written."""
        most, _, window = str(value).partition("/")
        try:
            return Rate(int(most), _UNITS[window] if window in _UNITS else _seconds(window))
        except ValueError:
            self.fail(f"{value!r} is not a rate such as 10/1s or 600/m", param, ctx)


class _Backoff(click.ParamType[Backoff | Duration]):
    """``5s``, ``exponential:1s`` or ``exponential:1s:0.5`` with jitter."""

    name = "backoff"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Backoff | Duration:
        """Read it, or tell how it is written."""
        text = str(value)
        exponential = text.removeprefix("exponential:")
        try:
            if exponential == text:
                return _seconds(text)
            delay, _, jitter = exponential.partition(":")
            return Exponential(_seconds(delay), jitter=float(jitter or 0))
        except ValueError:
            self.fail(f"{value!r} is not a backoff such as 5s, exponential:1s or exponential:1s:0.5", param, ctx)


class _Moment(click.ParamType[datetime]):
    """A time, in the zone of this machine unless it names one."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it, or tell how it is written."""
        try:
            return datetime.fromisoformat(str(value)).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as 2030-01-31T09:00 or 2030-01-31T09:00Z", param, ctx)


class _Since(_Moment):
    """A time, or a duration, which is so long ago."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it, or tell how it is written."""
        try:
            return datetime.now(UTC) - timedelta(seconds=_seconds(str(value)))
        except (ValueError, OverflowError):
            return super().convert(value, param, ctx)


class _Json(click.ParamType[Any]):
    """A JSON value as it is, ``@file``, or ``-`` for standard input."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, or tell what is wrong with it."""
        if not isinstance(value, str):
            return value
        try:
            if value == "-":
                text = sys.stdin.read()
            elif value.startswith("@"):
                text = Path(value[1:]).read_text("utf-8")
            else:
                text = value
            return json.loads(text)
        except OSError as error:
            self.fail(f"{value[1:]} cannot be read: {error.strerror}", param, ctx)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            self.fail(f"this is not JSON: {error.msg} ({place})", param, ctx)
        except UnicodeDecodeError:
            self.fail("this is not UTF-8", param, ctx)


DURATION: Final = _Duration()
RATE: Final = _Rate()
BACKOFF: Final = _Backoff()
MOMENT: Final = _Moment()
SINCE: Final = _Since()
JSON: Final = _Json()

_STEPS: Final = ((86_400, "d"), (3600, "h"), (60, "m"))
_SHORT: Final = 10.0


def duration_text(seconds: float) -> str:
    """A duration in two words at most: ``250ms``, ``1.5s``, ``3m 20s``, ``2d 3h``."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < _SHORT:
        return f"{seconds:.1f}s".replace(".0s", "s")
    whole = round(seconds)
    found: list[tuple[int, str]] = []
    for length, unit in (*_STEPS, (1, "s")):
        count, whole = divmod(whole, length)
        if count or found:
            found.append((count, unit))
    return " ".join(f"{count}{unit}" for count, unit in found[:2] if count)


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago that was, or in how long it will be; empty for never."""
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    return f"{duration_text(seconds)} ago" if seconds >= 0 else f"in {duration_text(-seconds)}"


def moment_text(moment: datetime | None, now: datetime) -> str:
    """A time in the zone of this machine, and how long ago it was."""
    if moment is None:
        return ""
    return f"{moment.astimezone().isoformat(' ', 'seconds')} ({ago(moment, now)})"


def clock_time(moment: datetime | None) -> str:
    """The time of day, with milliseconds, in the zone of this machine."""
    return "" if moment is None else moment.astimezone().strftime("%H:%M:%S.%f")[:-3]
