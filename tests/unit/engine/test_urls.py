"""Where the job store of a Celery application is, in all the ways in which Celery takes a broker."""

from __future__ import annotations

import pytest
from celery import Celery

from backroom.engine.urls import store_url
from backroom.settings import get_settings

HERE, THERE = "backroom://here:6379/1", "backroom+rediss://there:6380/2"


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        (HERE, "redis://here:6379/1"),
        (THERE, "rediss://there:6380/2"),
        ([HERE], "redis://here:6379/1"),
        ([THERE, HERE], "rediss://there:6380/2"),
        (f"{HERE};{THERE}", "redis://here:6379/1"),
    ],
)
def test_the_store_is_where_the_broker_is(broker: str | list[str], expected: str) -> None:
    assert store_url(Celery("shop", broker=broker, set_as_current=False)) == expected


@pytest.mark.parametrize("name", ["broker_read_url", "broker_write_url"])
def test_a_broker_for_reading_or_writing_alone_counts_too(name: str) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.update({name: HERE})

    assert store_url(app) == "redis://here:6379/1"


def test_without_such_a_broker_the_settings_say_where_it_is() -> None:
    assert store_url(Celery("shop", broker="memory://", set_as_current=False)) == get_settings().redis_url
