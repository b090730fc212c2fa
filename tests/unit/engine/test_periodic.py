"""``beat_schedule`` of a Celery application, as schedules of the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.beat import BeatLazyFunc, ScheduleEntry
from celery.exceptions import ImproperlyConfigured
from celery.schedules import crontab, schedule, solar
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from backroom import job
from backroom.engine.periodic import periodic_schedules
from backroom.model.cron import Cron

if TYPE_CHECKING:
    from backroom.model.schedule import ScheduleSpec


class Order(BaseModel):
    number: int


@pytest.fixture
def app() -> Celery:
    """An application with a plain task and a job."""
    app = Celery("shop", set_as_current=False)
    app.conf.timezone = "Europe/Berlin"
    app.task(add, name="periodic-add")
    return app


def add(x: int, y: int) -> int:
    return x + y


@job("periodic-order", queue="orders", attempts=3)
def order(data: Order) -> None:
    """Take an order."""


def converted(app: Celery, **fields: Any) -> ScheduleSpec:
    """One entry, converted."""
    [spec] = periodic_schedules(app, [an_entry(app, **fields)]).values()
    return spec


def an_entry(app: Celery, name: str = "entry", **fields: Any) -> ScheduleEntry:
    return ScheduleEntry(**{"name": name, "task": "periodic-add", "schedule": 60.0, "app": app} | fields)


def refusal(app: Celery, **fields: Any) -> str:
    """What is said of an entry that cannot be kept."""
    with pytest.raises(ImproperlyConfigured) as refused:
        converted(app, **fields)
    return str(refused.value)


@pytest.mark.parametrize("rhythm", [90, 90.0, timedelta(seconds=90), schedule(90)])
def test_intervals_are_kept_in_ms(app: Celery, rhythm: Any) -> None:
    spec = converted(app, schedule=rhythm)
    assert (spec.every, spec.pattern) == (90_000, None)


@pytest.mark.parametrize(
    ("rhythm", "pattern"),
    [
        (crontab(), "* * * * *"),
        (crontab(minute=30, hour=7), "30 7 * * *"),
        (crontab(minute="*/15", hour="*/2"), "*/15 */2 * * *"),
        (crontab(minute=0, hour=[8, 20], day_of_week="mon-fri"), "0 8,20 * * 1,2,3,4,5"),
        (crontab(minute=0, hour="22-2", month_of_year="*/3"), "0 0,1,2,22,23 * */3 *"),
        (crontab(0, 0, day_of_month="2-6/2"), "0 0 2,4,6 * *"),
        (crontab(0, 0, day_of_month="1-7", day_of_week="mon"), "0 0 */31,1,2,3,4,5,6,7 * 1"),
        (crontab(0, 0, day_of_month="13,14", day_of_week="sun,fri"), "0 0 13,14 * */7,0,5"),
    ],
)
def test_crontabs_become_patterns_in_the_zone_of_the_application(app: Celery, rhythm: crontab, pattern: str) -> None:
    spec = converted(app, schedule=rhythm)
    assert (spec.pattern, spec.tz) == (pattern, "Europe/Berlin")


def some(first: int, last: int) -> st.SearchStrategy[Any]:
    """A field of a crontab."""
    numbers = st.sets(st.integers(first, last), min_size=1, max_size=5)
    return st.one_of(st.just("*"), st.integers(2, 9).map(lambda step: f"*/{step}"), numbers)


@settings(deadline=None)
@given(some(0, 59), some(0, 23), some(0, 6), some(1, 28), some(1, 12))
def test_patterns_name_the_days_and_times_of_their_crontabs(
    minute: Any, hour: Any, weekday: Any, day: Any, month: Any
) -> None:
    app = Celery("shop", set_as_current=False)
    rhythm = crontab(minute, hour, weekday, day, month)
    try:
        spec = converted(app, schedule=rhythm)
    except ImproperlyConfigured as refused:
        assert "cron cannot say" in str(refused)  # noqa: PT017 - a few cannot be said
        return
    for instant in islice(Cron(spec.pattern or "", "UTC").instants(0), 20):
        at = datetime.fromtimestamp(instant, UTC)
        assert at.minute in rhythm.minute
        assert at.hour in rhythm.hour
        assert at.day in rhythm.day_of_month
        assert at.month in rhythm.month_of_year
        assert at.isoweekday() % 7 in rhythm.day_of_week


def test_a_plain_task_gets_its_arguments(app: Celery) -> None:
    assert converted(app, args=(1, 2)).job.data == {"args": [1, 2], "kwargs": {}}
    assert converted(app, kwargs={"x": 1}).job.data == {"x": 1}
    assert converted(app, kwargs={"args": 1}).job.data == {"args": [], "kwargs": {"args": 1}}
    assert converted(app).job.data == {}


def test_a_job_gets_its_data_and_has_the_options_of_its_type(app: Celery) -> None:
    spec = converted(app, task="periodic-order", args=[{"number": 1}])
    assert (spec.job.data, spec.job.queue, spec.job.options.attempts) == ({"number": 1}, "orders", 3)


def test_options_are_kept_in_our_words(app: Celery) -> None:
    options = {"queue": "q", "priority": 3, "expires": 1.5, "time_limit": timedelta(minutes=1)}
    job_of = converted(app, options=options).job
    assert job_of.queue == "q"
    assert job_of.options.to_dict() == {"priority": 3, "ttl": 1500, "timeout": 60_000}


def test_routes_of_the_application_are_followed(app: Celery) -> None:
    app.conf.task_routes = {"periodic-add": "sums"}
    assert converted(app).job.queue == "sums"
    assert converted(app, task="unknown").job.queue == "celery"


def test_names_that_no_key_takes_are_told_apart(app: Celery) -> None:
    names = ["nightly", "shop.add(2, 2)", "shop.add(2,2)", "x" * 300]
    keys = list(periodic_schedules(app, [an_entry(app, name) for name in names]))
    assert keys[0] == "nightly"
    assert len(set(keys)) == 4
    assert max(map(len, keys)) <= 128
    assert all(key.replace("-", "").replace(".", "").isalnum() for key in keys)


class Custom(schedule):
    """A rhythm of one's own."""


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schedule": Custom(5)}, "Custom is not supported"),
        ({"schedule": schedule(3600, relative=True)}, "relative"),
        ({"schedule": schedule(5, nowfun=datetime.now)}, "clock of its own"),
        ({"schedule": 0.01}, "/every"),
        ({"schedule": crontab(0, 0, day_of_month="13", day_of_week="fri")}, "cron cannot say"),
        ({"args": (BeatLazyFunc(datetime.now),)}, "not JSON"),
        ({"args": (datetime(2030, 1, 1, tzinfo=UTC),)}, "not JSON"),
        ({"options": {"countdown": 5}}, "countdown"),
        ({"options": {"expires": datetime(2030, 1, 1, tzinfo=UTC)}}, "expires must be a number"),
        ({"options": {"priority": -1}}, "/job/options/priority"),
        ({"task": "periodic-order"}, "exactly one argument"),
        ({"task": "periodic-order", "args": [{"number": "many"}]}, "/data/number"),
        ({"task": "a task"}, "/job/name"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(app: Celery, fields: dict[str, Any], said: str) -> None:
    refused = refusal(app, **fields)
    assert said in refused
    assert "'entry'" in refused


def test_the_sun_is_refused(app: Celery) -> None:
    rhythm = solar.__new__(solar)  # making one takes a package for astronomers
    rhythm.nowfun = None
    assert "solar is not supported" in refusal(app, schedule=rhythm)


def test_a_zone_without_a_name_is_refused(app: Celery) -> None:
    app.conf.timezone = timezone(timedelta(hours=1))
    assert "set the timezone" in refusal(app, schedule=crontab())
    assert converted(app).every == 60_000  # an interval needs none


def test_everything_that_is_wrong_is_said_at_once(app: Celery) -> None:
    entries = [an_entry(app, "one", schedule=Custom(5)), an_entry(app, "two", options={"countdown": 1})]
    with pytest.raises(ImproperlyConfigured, match=r"'one'.*'two'"):
        periodic_schedules(app, entries)
