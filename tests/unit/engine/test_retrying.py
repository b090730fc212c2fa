"""Whether and when a failed try is followed by another."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backroom.engine.retrying import next_delay_ms
from backroom.model.backoff import MAX_BACKOFF_SECONDS, Exponential, Fixed
from backroom.model.control import Unrecoverable
from backroom.model.options import parse_options

if TYPE_CHECKING:
    from backroom.model.backoff import Backoff, CustomBackoff

ERROR = ValueError("it broke")


def delay(attempt: int = 1, *, default: Backoff | CustomBackoff | None = None, **options: object) -> int | None:
    stored = parse_options({"attempts": 5, **options}).to_dict()
    return next_delay_ms(stored, attempt, ERROR, default)


def test_the_last_attempt_is_the_last() -> None:
    assert delay(4) == 0
    assert delay(5) is None
    assert next_delay_ms({}, 1, ERROR, None) is None


def test_an_unrecoverable_error_ends_it_whatever_is_left() -> None:
    assert next_delay_ms({"attempts": 5}, 1, Unrecoverable("no"), Fixed(1)) is None


def test_without_a_backoff_the_next_try_comes_at_once() -> None:
    assert delay() == 0


def test_a_number_is_a_fixed_backoff_in_ms() -> None:
    assert [delay(attempt, backoff=250) for attempt in (1, 2, 3)] == [250, 250, 250]


def test_an_exponential_backoff_doubles() -> None:
    backoff = {"type": "exponential", "delay": 200}

    assert [delay(attempt, backoff=backoff) for attempt in (1, 2, 3)] == [200, 400, 800]


def test_jitter_stays_within_its_bounds_and_differs() -> None:
    found = {delay(2, backoff={"type": "exponential", "delay": 1000, "jitter": 0.5}) for _ in range(200)}

    assert all(each is not None and 1000 <= each <= 2000 for each in found)
    assert len(found) > 50


def test_the_backoff_of_the_job_overrides_that_of_its_type() -> None:
    assert delay(default=Fixed(9), backoff=100) == 100
    assert delay(default=Exponential(0.5)) == 500


def test_a_function_is_given_the_attempt_and_the_error() -> None:
    seen = []

    def backoff(attempt: int, error: BaseException) -> float:
        seen.append((attempt, error))
        return 1.5

    assert delay(3, default=backoff) == 1500
    assert seen == [(3, ERROR)]


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0, 0), (-1, None), (1e12, MAX_BACKOFF_SECONDS * 1000)])
def test_a_function_may_say_at_once_never_and_far_too_late(seconds: float, milliseconds: int | None) -> None:
    assert delay(default=lambda _attempt, _error: seconds) == milliseconds


def test_a_function_may_answer_in_a_timedelta() -> None:
    assert delay(default=lambda _attempt, _error: timedelta(seconds=2)) == 2000  # type: ignore[arg-type,return-value]  # a courtesy


@pytest.mark.parametrize("answer", ["soon", None, float("nan")])
def test_a_function_that_fails_costs_the_job_nothing(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    assert delay(default=lambda _attempt, _error: answer) == 0  # type: ignore[arg-type,return-value]  # what it must not do
    assert "the backoff strategy of a job type failed" in caplog.text
