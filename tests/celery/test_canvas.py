"""Canvas: chains, groups, chunks, maps, and signatures with options of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import chain, group, signature

from tests.celery import tasks
from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from celery import Celery

    from tests.celery.diary import Diary
    from tests.celery.workers import Site

pytestmark = pytest.mark.usefixtures("site")


def test_a_chain_hands_each_result_on() -> None:
    result = (tasks.add.s(1, 2) | tasks.add.s(10) | tasks.same.s()).delay()

    assert result.get(timeout=PATIENCE) == 13
    assert (result.parent.get(timeout=PATIENCE), result.parent.parent.get(timeout=PATIENCE)) == (13, 3)


def test_immutable_signatures_take_no_result(diary: Diary) -> None:
    result = chain(tasks.write.si("immutable", 1), tasks.write.si("immutable", 2), tasks.add.si(1, 1)).delay()

    assert result.get(timeout=PATIENCE) == 2
    assert [diary.next("immutable") for _ in range(2)] == [[1], [2]]


def test_a_chain_breaks_where_a_task_fails(app: Celery, diary: Diary) -> None:
    result = (tasks.add.s(1, 2) | tasks.fail.si("broken") | tasks.write.s("never")).apply_async(
        link_error=tasks.note_failed_id.s()
    )

    with pytest.raises(tasks.Oops, match="broken"):
        result.get(timeout=PATIENCE)
    with pytest.raises(tasks.Oops, match="broken"):
        app.AsyncResult(result.id).get(timeout=PATIENCE)
    assert diary.next(result.parent.id) == ["errback task"]
    assert diary.lines("never") == []


def test_a_group_keeps_the_order_of_its_tasks() -> None:
    result = group(tasks.add.s(n, n) for n in range(8)).delay()

    assert result.get(timeout=PATIENCE) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert result.successful()
    assert len(result) == 8


def test_a_group_fails_with_one_of_its_tasks() -> None:
    result = group(tasks.add.s(1, 1), tasks.fail.s("one of two")).delay()

    with pytest.raises(tasks.Oops, match="one of two"):
        result.get(timeout=PATIENCE)
    assert result.failed()
    assert result[0].get(timeout=PATIENCE) == 2


def test_groups_in_chains_and_chains_in_groups() -> None:
    fan_out = tasks.add.s(1, 1) | group(tasks.add.s(n) for n in range(3))
    fan_in = group(chain(tasks.add.s(n, 1), tasks.add.s(10)) for n in range(3)) | tasks.total.s()

    assert fan_out.delay().get(timeout=PATIENCE) == [2, 3, 4]
    assert fan_in.delay().get(timeout=PATIENCE) == 36
    assert (fan_out | tasks.total.s() | tasks.same.s()).delay().get(timeout=PATIENCE) == 9


def test_an_empty_group_is_done_at_once() -> None:
    assert group().delay().get(timeout=PATIENCE) == []


def test_chunks() -> None:
    result = tasks.add.chunks(zip(range(5), range(5), strict=True), 2).delay()

    assert result.get(timeout=PATIENCE) == [[0, 2], [4, 6], [8]]


def test_map_and_starmap() -> None:
    assert tasks.same.map([1, "zwei", None]).delay().get(timeout=PATIENCE) == [1, "zwei", None]
    assert tasks.add.starmap([(1, 2), (3, 4)]).delay().get(timeout=PATIENCE) == [3, 7]


def test_a_signature_carries_its_options(app: Celery, site: Site) -> None:
    stored = signature("told", args=(1,), kwargs={"b": 2}, options={"queue": "celery", "priority": 3}, app=app)

    told = signature(dict(stored), app=app).delay().get(timeout=PATIENCE)

    assert (told["args"], told["kwargs"], told["delivery_info"]["priority"]) == ([1], {"b": 2}, 3)


def test_links_of_a_chain_are_called_at_its_end(diary: Diary) -> None:
    steps = chain(tasks.add.s(1, 1), tasks.add.s(2))
    steps.link(tasks.write.s("at the end"))

    steps.delay()

    assert diary.next("4") == ["at the end"]


def test_dates_in_callbacks_arrive_as_dates() -> None:
    from datetime import date  # noqa: PLC0415 - what this test is about

    result = (tasks.same.si(1) | tasks.kind.si(date(2026, 2, 28))).delay()

    assert result.get(timeout=PATIENCE) == ["date", "2026-02-28"]


def test_a_chain_within_a_task_keeps_the_root() -> None:
    first = (tasks.told.si() | tasks.told.si()).delay()

    second, root = first.get(timeout=PATIENCE), first.parent.id

    assert (second["root_id"], second["parent_id"]) == (root, root)


def test_stamps_reach_the_tasks() -> None:
    steps = group(tasks.told.si(), tasks.told.si())
    steps.stamp(customer="acme")

    result = steps.delay()

    assert [told["id"] for told in result.get(timeout=PATIENCE)] == [each.id for each in result.results]
