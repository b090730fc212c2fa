"""The periodic tasks of a Celery application's configuration, as schedules of the job store.

``beat_schedule`` may hold intervals and ``crontab``. All else is refused when the scheduler starts, rather than never
run.
"""

import math
import re
import zlib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.beat import ScheduleEntry
from celery.exceptions import ImproperlyConfigured
from celery.schedules import crontab, schedule

from backroom.engine.jobs import JobTask, plain_data
from backroom.model.errors import InvalidInput
from backroom.model.schedule import ScheduleSpec, parse_schedule

__all__ = ["periodic_schedules"]

_FOREIGN = re.compile(r"[^A-Za-z0-9._~-]+")
#: Longer names are cut, so that keys stay short.
_MAX_NAME = 100
#: What ``*`` and ``*/n`` mean is the same in Celery's fields and in cron's; all else is written out.
_STARRED = re.compile(r"\*(/\d+)?")
_EVERY_DAY_OF_MONTH, _EVERY_DAY_OF_WEEK = set(range(1, 32)), set(range(7))
_EVERY_MONTH = set(range(1, 13))


def periodic_schedules(app: Celery, entries: Iterable[ScheduleEntry]) -> dict[str, ScheduleSpec]:
    """The schedules that stand for the entries, by their names. Raises ``ImproperlyConfigured`` if some cannot be."""
    found, wrong = {}, []
    for entry in entries:
        try:
            spec = parse_schedule({**_rhythm(app, entry.schedule), "job": _job(app, entry)})
            spec.template()  # refuses data that is not JSON
            found[_key(entry.name)] = spec
        except (InvalidInput, TypeError, ValueError) as error:
            wrong.append(f"{entry.name!r}: {error}")
    if wrong:
        raise ImproperlyConfigured(f"beat_schedule has entries that Backroom cannot keep: {'; '.join(wrong)}")
    return found


def _key(name: str) -> str:
    """The name, if it may stand in a key; else what may of it, and a number that tells it from others like it."""
    plain = _FOREIGN.sub("-", name)[:_MAX_NAME]
    return plain if plain == name else f"{plain}.{zlib.crc32(name.encode()):08x}"


def _rhythm(app: Celery, rhythm: Any) -> dict[str, Any]:
    if getattr(rhythm, "nowfun", None) is not None:
        raise ValueError("a schedule with a clock of its own (nowfun) is not supported")
    if type(rhythm) is crontab:
        return {"pattern": _pattern(rhythm), "tz": _time_zone(app)}
    if type(rhythm) is schedule:
        if rhythm.relative:
            raise ValueError("an interval that is relative to the clock is not supported: use a crontab")
        return {"every": math.ceil(rhythm.run_every / timedelta(milliseconds=1))}
    raise ValueError(
        f"a schedule of the type {type(rhythm).__qualname__} is not supported: use an interval or a crontab"
    )


def _time_zone(app: Celery) -> str:
    """The IANA name of the zone that Celery reads crontabs in."""
    name: str | None = getattr(app.timezone, "key", None)
    if name is None:
        raise ValueError("set the timezone of the Celery application to the name of a zone, such as 'Europe/Berlin'")
    return name


def _pattern(rhythm: crontab) -> str:
    """As a cron pattern. Celery wants both the day of the month and the day of the week to match, cron either."""
    day, weekday = set(rhythm.day_of_month), set(rhythm.day_of_week)
    days = _field(rhythm._orig_day_of_month, day, _EVERY_DAY_OF_MONTH)  # noqa: SLF001 - kept nowhere else
    weekdays = _field(rhythm._orig_day_of_week, weekday, _EVERY_DAY_OF_WEEK)  # noqa: SLF001 - the same
    if not days.startswith("*") and not weekdays.startswith("*"):
        # Both must match if one begins with a star, as "*/31" does, which is the 1st, or "*/7", which is Sunday.
        if 1 in day:
            days = f"*/31,{days}"
        elif 0 in weekday:
            weekdays = f"*/7,{weekdays}"
        else:
            raise ValueError("cron cannot say that both this day of the month and this day of the week must match")
    minutes = _field(rhythm._orig_minute, rhythm.minute, set(range(60)))  # noqa: SLF001 - the same
    hours = _field(rhythm._orig_hour, rhythm.hour, set(range(24)))  # noqa: SLF001 - the same
    months = _field(rhythm._orig_month_of_year, rhythm.month_of_year, _EVERY_MONTH)  # noqa: SLF001 - the same
    return f"{minutes} {hours} {days} {months} {weekdays}"


def _field(given: object, values: set[int], every: set[int]) -> str:
    if isinstance(given, str) and _STARRED.fullmatch(given):
        return given
    return "*" if values == every else ",".join(str(value) for value in sorted(values))


def _job(app: Celery, entry: ScheduleEntry) -> dict[str, Any]:
    """What ``PUT /v1/schedules`` takes as ``job``."""
    task, args, kwargs = app.tasks.get(entry.task), list(entry.args or ()), dict(entry.kwargs or {})
    given = {name: value for name, value in (entry.options or {}).items() if value is not None}
    options: dict[str, Any] = {}
    if isinstance(task, JobTask):
        if kwargs or len(args) != 1:
            raise TypeError(f"{entry.task} takes exactly one argument, its data")
        data = plain_data(task.adapter, args[0])
        options |= task.job_options.to_dict()
        given.setdefault("queue", task.job_queue)
    elif args or (kwargs and kwargs.keys() <= {"args", "kwargs"}):
        data = {"args": args, "kwargs": kwargs}
    else:
        data = kwargs
    queue = _queue(app, entry.task, task, args, kwargs, given.pop("queue", None))
    if "priority" in given:
        options["priority"] = given.pop("priority")
    for theirs, ours in (("expires", "ttl"), ("time_limit", "timeout")):
        if theirs in given:
            options[ours] = _milliseconds(theirs, given.pop(theirs))
    if given:
        raise ValueError(f"these options are not supported: {', '.join(sorted(given))}")
    return {"name": entry.task, "data": data, "queue": queue, "options": options}


def _queue(app: Celery, name: str, task: Any, args: list[Any], kwargs: Mapping[str, Any], wanted: Any) -> str:
    """The queue that Celery would send the task to."""
    wanted = wanted or getattr(task, "queue", None)
    route = app.amqp.router.route({"queue": wanted} if wanted else {}, name, args, kwargs, task)
    queue = route["queue"]
    return str(getattr(queue, "name", queue))


def _milliseconds(name: str, value: Any) -> int:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds")
    return math.ceil(value * 1000)
