"""What travels: dates, decimals, unicode, other serializers, compression, large arguments."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from kombu.exceptions import ContentDisallowed

from tests.celery import tasks
from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.celery.workers import Site

pytestmark = pytest.mark.usefixtures("site")

VALUES = [
    datetime(2026, 2, 28, 12, 30, 0, 123456, tzinfo=UTC),
    datetime(2026, 2, 28, 12, 30),  # noqa: DTZ001 - one without a zone is what is tried
    date(2026, 2, 28),
    time(12, 30, 5),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    Decimal("0.1000"),
    "\N{SNOWMAN} Grüße 🎉 \x00 \ud800",
    2**70,
    -0.5,
    {"nested": [{"deep": [None, True, {}]}], "": "empty key"},
    [],
    float("inf"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_arrives_and_comes_back_as_it_was(value: Any) -> None:
    result = tasks.same.delay(value).get(timeout=PATIENCE)

    assert (result, type(result)) == (value, type(value))


def test_values_are_seen_by_the_task_in_their_own_types() -> None:
    assert tasks.kind.delay(value=Decimal("1.50")).get(timeout=PATIENCE) == ["Decimal", "1.50"]


def test_one_dictionary_is_the_data_of_the_job(site: Site) -> None:
    result = tasks.same.delay({"userId": "u-7", "month": "2026-02"})

    assert result.get(timeout=PATIENCE) == {"userId": "u-7", "month": "2026-02"}
    assert site.store.inspection.get(result.id).data == {"userId": "u-7", "month": "2026-02"}


def test_other_arguments_are_seen_in_the_job_too(site: Site) -> None:
    keywords, both = tasks.echo.delay(a=1), tasks.echo.delay(1, a=2)

    jobs = [site.store.inspection.get(result.id) for result in (keywords, both)]

    assert [job.data for job in jobs] == [{"a": 1}, {"args": [1], "kwargs": {"a": 2}}]
    assert keywords.get(timeout=PATIENCE) == {"args": [], "kwargs": {"a": 1}}


def test_another_serializer_where_it_is_accepted(site: Site) -> None:
    result = tasks.echo.apply_async((1, "zwei"), {"drei": [3]}, serializer="pickle", link=tasks.same.s())

    assert result.get(timeout=PATIENCE) == {"args": [1, "zwei"], "kwargs": {"drei": [3]}}
    assert site.store.inspection.get(result.id).data == {"args": "(1, 'zwei')", "kwargs": "{'drei': [3]}"}


def test_python_objects_by_pickle() -> None:
    value = {"set": frozenset([1, 2]), "delta": timedelta(days=1)}

    assert tasks.kind.apply_async((value["set"],), serializer="pickle").get(timeout=PATIENCE)[0] == "frozenset"
    assert tasks.kind.apply_async((value["delta"],), serializer="pickle").get(timeout=PATIENCE)[0] == "timedelta"


def test_a_task_that_was_pickled_may_retry_and_replace_itself() -> None:
    assert tasks.again.apply_async((2,), serializer="pickle").get(timeout=PATIENCE) == 2
    assert tasks.replaced.apply_async(("chain",), serializer="pickle").get(timeout=PATIENCE) == 12


def test_a_serializer_that_is_not_accepted_fails_the_task() -> None:
    result = tasks.same.apply_async((1,), serializer="yaml")

    with pytest.raises(ContentDisallowed):
        result.get(timeout=PATIENCE)


def test_results_by_pickle(open_site: Callable[..., AbstractContextManager[Site]]) -> None:
    with open_site(result_serializer="pickle") as site:
        site.app.set_current()
        with site.another_worker("--pool", "threads", "--without-mingle", CELERY_TEST_RESULTS="pickle"):
            result = tasks.same.apply_async((frozenset([1]),), serializer="pickle")

            assert result.get(timeout=PATIENCE) == frozenset([1])
            assert tasks.add.s(1, 1).delay().get(timeout=PATIENCE) == 2
            with pytest.raises(tasks.Oops, match="sad"):
                tasks.fail.delay("sad").get(timeout=PATIENCE)


@pytest.mark.parametrize("compression", ["zlib", "bzip2"])
def test_compressed_messages(site: Site, compression: str) -> None:
    result = tasks.echo.apply_async(("x" * 10_000,), compression=compression)

    assert result.get(timeout=PATIENCE)["args"] == ["x" * 10_000]
    assert site.store.inspection.get(result.id).data == {"args": ["x" * 10_000], "kwargs": {}}


def test_large_arguments() -> None:
    assert tasks.size.delay("ä" * 2_000_000).get(timeout=PATIENCE) == 2_000_000
    assert tasks.total.delay(list(range(200_000))).get(timeout=PATIENCE) == sum(range(200_000))


def test_a_result_that_is_too_large_fails_the_task() -> None:
    result = tasks.same.delay("x" * 1_100_000)

    with pytest.raises(Exception, match=r"the result has 1100002 bytes, the limit is 1048576"):
        result.get(timeout=PATIENCE)


def test_a_result_may_be_a_result(site: Site) -> None:
    result = tasks.launch.delay()

    tuple_of_it = result.get(timeout=PATIENCE)

    assert site.app.AsyncResult(tuple_of_it[0][0]).get(timeout=PATIENCE) == 2
    assert json.dumps(tuple_of_it)
