"""``@job``: what it makes of a function, and calling one without a worker."""

from __future__ import annotations

import logging
from collections.abc import Mapping  # noqa: TC003 - the decorator reads the annotation
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from pydantic import BaseModel, Field

from backroom import (
    Exponential,
    Fixed,
    RateLimited,
    RetryAfter,
    Unrecoverable,
    current_job,
    job,
)
from backroom.engine.jobs import job_types_of
from backroom.model.errors import InvalidInput

if TYPE_CHECKING:
    from backroom.model.job_types import JobType

log = logging.getLogger(__name__)


class Report(BaseModel):
    """What a report takes."""

    user_id: str = Field(alias="userId", min_length=1)
    month: date


@job(
    "unit-report",
    queue="reports",
    attempts=5,
    backoff=Exponential(1.5, jitter=0.25),
    timeout=timedelta(minutes=2),
    ttl=60,
    priority=3,
    max_stalled=2,
    remove_on_complete={"age": 3600, "count": 10},
    remove_on_fail=False,
)
def report(data: Report) -> dict[str, Any]:
    """Make a report.

    In two lines.
    """
    current_job.progress(40, "half")
    log.info("for %s", data.user_id)
    return {"user": data.user_id, "month": data.month.isoformat(), "id": current_job.id, "try": current_job.attempt}


@job("unit-any")
def anything(data: dict[str, Any]) -> Any:
    return data


@job("unit-raises")
def raising(data: Mapping[str, Any]) -> None:
    raise {"retry": RetryAfter(5), "limit": RateLimited(5), "never": Unrecoverable("no"), "key": KeyError("k")}[
        data["what"]
    ]


@job("unit-progress")
def progressing(data: dict[str, Any]) -> None:
    current_job.progress(data["percent"])


@job("unit-model")
def modelled(data: Report) -> Report:
    return data


def offered(name: str) -> JobType:
    app = Celery("unit", set_as_current=False)
    return next(each for each in job_types_of(app) if each.name == name)


def test_a_job_type_has_what_the_decorator_says_in_the_words_of_the_api() -> None:
    job_type = offered("unit-report")

    assert (job_type.queue, job_type.description) == ("reports", "Make a report.\n\nIn two lines.")
    assert job_type.defaults == {
        "attempts": 5,
        "backoff": {"type": "exponential", "delay": 1500, "jitter": 0.25},
        "timeout": 120_000,
        "ttl": 60_000,
        "priority": 3,
        "maxStalled": 2,
        "removeOnComplete": {"age": 3600, "count": 10},
        "removeOnFail": False,
    }


def test_its_schema_is_that_of_the_model_by_alias() -> None:
    schema = offered("unit-report").schema

    assert schema["required"] == ["userId", "month"]
    assert schema["properties"]["userId"]["minLength"] == 1
    assert schema["properties"]["month"]["format"] == "date"


def test_without_a_model_anything_goes() -> None:
    job_type = offered("unit-any")

    assert (job_type.schema, job_type.queue, job_type.defaults, job_type.description) == ({}, "default", {}, "")


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"attempts": 0}, "/attempts"),
        ({"timeout": -1}, "/timeout"),
        ({"ttl": timedelta(0)}, "/ttl"),
        ({"priority": 1.5}, "/priority"),
        ({"max_stalled": -1}, "/maxStalled"),
        ({"remove_on_complete": {"age": -1}}, "/removeOnComplete"),
        ({"queue": "not a queue"}, "/queue"),
    ],
)
def test_options_out_of_range_are_refused_where_they_stand(options: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        job("unit-wrong", **options)

    assert refused.value.errors[0].pointer.startswith(pointer)


def test_names_are_checked() -> None:
    with pytest.raises(InvalidInput):
        job("no spaces, please")


def test_a_function_must_take_exactly_one_argument() -> None:
    def none() -> None: ...
    def two(a: Any, b: Any) -> None: ...
    def keyword(*, data: Any) -> None: ...
    def many(*data: Any) -> None: ...

    for function in (none, two, keyword, many):
        with pytest.raises(TypeError, match="must take exactly one argument: the data of the job"):
            job("unit-signature")(function)


def test_called_directly_it_checks_its_data_and_runs_here() -> None:
    result = report({"userId": "u1", "month": "2030-01-31"})

    assert result == {"user": "u1", "month": "2030-01-31", "id": "local", "try": 1}


def test_called_directly_it_takes_a_model_too() -> None:
    assert report(Report(userId="u1", month=date(2030, 1, 31)))["user"] == "u1"


def test_called_directly_it_refuses_what_the_model_refuses() -> None:
    with pytest.raises(InvalidInput) as refused:
        report({"userId": "", "month": "soon"})

    assert [error.pointer for error in refused.value.errors] == ["/data/userId", "/data/month"]


def test_a_model_is_a_result() -> None:
    assert modelled({"userId": "u1", "month": "2030-01-31"}) == {"userId": "u1", "month": "2030-01-31"}


@pytest.mark.parametrize(
    ("what", "error"), [("retry", RetryAfter), ("limit", RateLimited), ("never", Unrecoverable), ("key", KeyError)]
)
def test_called_directly_it_raises_what_it_raises(what: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        raising({"what": what})


def test_outside_a_job_there_is_no_current_job() -> None:
    for use in (
        lambda: current_job.id,
        lambda: current_job.attempt,
        lambda: current_job.progress(1),
        lambda: current_job.log("text"),
        lambda: current_job.cancelled,
    ):
        with pytest.raises(RuntimeError, match="no job runs here"):
            use()


@pytest.mark.parametrize("percent", [-1, 101, float("nan"), True, "40"])
def test_progress_is_a_number_from_0_to_100(percent: Any) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        progressing({"percent": percent})


@pytest.mark.parametrize("arguments", [((), {}), (({}, {}), {}), (({},), {"more": 1}), (None, {"data": {}})])
def test_a_job_is_submitted_with_its_data_alone(arguments: tuple[Any, Any]) -> None:
    positional, keywords = arguments

    with pytest.raises(TypeError, match="takes exactly one argument, its data"):
        anything.apply_async(positional, keywords)


def test_data_is_checked_when_it_is_submitted() -> None:
    with pytest.raises(InvalidInput):
        report.delay({"userId": "u1"})


def test_seconds_of_a_fixed_backoff_become_milliseconds() -> None:
    @job("unit-fixed", backoff=Fixed(timedelta(milliseconds=250)))
    def fixed(data: dict[str, Any]) -> None: ...

    assert offered("unit-fixed").defaults == {"backoff": {"type": "fixed", "delay": 250, "jitter": 0.0}}
