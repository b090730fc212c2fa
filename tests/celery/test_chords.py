"""Chords: their body runs once, when all of the header is done, and fails with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError

from tests.celery import tasks
from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from celery import Celery

    from tests.celery.diary import Diary
    from tests.celery.workers import Site

pytestmark = pytest.mark.usefixtures("site")


@pytest.mark.parametrize("size", [0, 1, 2, 30])
def test_the_body_gets_all_results_in_order(size: int) -> None:
    result = chord([tasks.same.s(n) for n in range(size)])(tasks.echo.s())

    assert result.get(timeout=PATIENCE) == {"args": [list(range(size))], "kwargs": {}}


def test_a_chord_in_a_chord() -> None:
    inner = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s())
    outer = chord([inner, tasks.add.s(3, 3), chain(tasks.add.s(1, 1), tasks.add.s(5))], tasks.total.s())

    assert outer.delay().get(timeout=PATIENCE) == 19


def test_chords_in_a_chain() -> None:
    first = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s())
    steps = first | chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s()) | tasks.add.s(100)

    assert steps.delay().get(timeout=PATIENCE) == 115


def test_a_body_that_is_a_chain_or_a_group() -> None:
    header = [tasks.add.s(1, 1), tasks.add.s(2, 2)]

    assert chord(header)(tasks.total.s() | tasks.add.s(10)).get(timeout=PATIENCE) == 16
    assert chord(header)(group(tasks.total.s(), tasks.same.s())).get(timeout=PATIENCE) == [6, [2, 4]]


def test_a_body_of_the_error_gets_a_chord_error(app: Celery, diary: Diary) -> None:
    body = tasks.total.s().on_error(tasks.note_error.s())
    result = chord([tasks.add.s(1, 1), tasks.fail.s("in the header")])(body)

    with pytest.raises(ChordError, match="in the header"):
        app.AsyncResult(result.id).get(timeout=PATIENCE)
    kind, text, name = diary.next(result.id)
    assert (kind, name) == ("errback", "ChordError")
    assert "in the header" in text


def test_a_chord_whose_body_fails() -> None:
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)])(tasks.fail.s())

    with pytest.raises(tasks.Oops) as caught:
        result.get(timeout=PATIENCE)
    assert caught.value.args == ([2, 4],)


def test_a_chain_in_the_header_that_breaks_fails_the_chord(app: Celery) -> None:
    result = chord([chain(tasks.fail.si("early"), tasks.add.si(1, 1)), tasks.add.s(2, 2)])(tasks.total.s())

    with pytest.raises(ChordError, match="early"):
        app.AsyncResult(result.id).get(timeout=PATIENCE)


def test_the_chain_behind_a_failed_chord_fails(app: Celery) -> None:
    steps = chord([tasks.fail.s("header"), tasks.add.s(1, 1)], tasks.total.s()) | tasks.add.s(1) | tasks.same.s()

    result = steps.delay()

    with pytest.raises(ChordError, match="header"):
        app.AsyncResult(result.id).get(timeout=PATIENCE)


def test_a_header_task_that_retries_is_counted_once(diary: Diary) -> None:
    result = chord([tasks.again.s(2), tasks.add.s(1, 1)])(tasks.total.s() | tasks.write.s("chord ran"))

    assert result.get(timeout=PATIENCE) == 4
    assert diary.next("4") == ["chord ran"]


def test_a_task_adds_another_to_its_chord(site: Site) -> None:
    result = chord([tasks.widen.s(5), tasks.add.s(1, 1)])(tasks.total.s())

    assert result.get(timeout=PATIENCE) == 17


def test_nothing_of_a_finished_chord_is_left(site: Site) -> None:
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)])(tasks.total.s())
    assert result.get(timeout=PATIENCE) == 6

    left = [key for key in site.store.redis.keys("*:celery:chord:*") if result.parent.id in key]

    assert left == []
