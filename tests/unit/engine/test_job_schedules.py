"""``@job(schedule=...)``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from backroom import job
from backroom.engine.jobs import schedules_of
from backroom.model.errors import InvalidInput
from backroom.model.schedule import parse_schedule


def nothing(data: dict[str, Any]) -> None:
    """Do nothing."""


class Needy(BaseModel):
    number: int


def choosy(data: Needy) -> None:
    """Need a number."""


@job("scheduled-by-pattern", queue="reports", attempts=3, schedule="0 3 * * *")
def by_pattern(data: dict[str, Any]) -> None:
    """Take no data."""


@job("not-scheduled")
def unscheduled(data: dict[str, Any]) -> None:
    """Have no schedule."""


def test_an_application_knows_the_schedules_of_its_jobs() -> None:
    found = schedules_of(Celery("any", set_as_current=False))
    expected = {"name": "scheduled-by-pattern", "queue": "reports", "options": {"attempts": 3}}
    assert found["scheduled-by-pattern"] == parse_schedule({"pattern": "0 3 * * *", "job": expected})
    assert "not-scheduled" not in found


@pytest.mark.parametrize(
    ("name", "schedule", "same"),
    [
        ("by-seconds", 1.5, {"every": 1500}),
        ("by-duration", timedelta(hours=1), {"every": 3_600_000}),
        ("by-interval", {"every": 500, "misfire": "skip"}, {"every": 500, "misfire": "skip"}),
        ("by-zone", {"pattern": "0 3 * * *", "tz": "Asia/Tokyo"}, {"pattern": "0 3 * * *", "tz": "Asia/Tokyo"}),
    ],
)
def test_seconds_durations_and_definitions_will_do(name: str, schedule: Any, same: dict[str, Any]) -> None:
    task = job(name, schedule=schedule)(nothing)
    assert task.schedule == parse_schedule({**same, "job": {"name": name, "queue": "default"}})


@pytest.mark.parametrize("schedule", ["* * *", 0.05, {"every": 500, "cron": "x"}, {}, {"every": 500, "tz": "Mars"}])
def test_a_schedule_that_cannot_be_is_refused_where_it_is_written(schedule: Any) -> None:
    with pytest.raises(InvalidInput):
        job("scheduled", schedule=schedule)


def test_a_type_that_needs_data_cannot_make_jobs_by_itself() -> None:
    with pytest.raises(InvalidInput, match="/data/number"):
        job("scheduled", schedule="0 3 * * *")(choosy)


def test_the_job_of_a_schedule_is_the_type_it_stands_at() -> None:
    with pytest.raises(TypeError, match="leave out 'job'"):
        job("scheduled", schedule={"every": 500, "job": {"name": "other"}})
