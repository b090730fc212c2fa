"""How far ahead a worker claims: only while its jobs are very short."""

from __future__ import annotations

import math

import pytest

from backroom.engine.estimate import ShortJobs


def after(*seconds: float) -> ShortJobs:
    estimate = ShortJobs()
    for each in seconds:
        estimate.saw(each)
    return estimate


def test_nothing_is_known_at_first_so_nothing_is_claimed_ahead() -> None:
    estimate = ShortJobs()

    assert estimate.mean == math.inf
    assert not estimate.very_short
    assert estimate.ahead(0.05, slots=4, most=256) == 0


def test_very_short_jobs_are_claimed_ahead_for_the_time_asked() -> None:
    estimate = after(*[0.001] * 50)

    assert estimate.very_short
    assert estimate.ahead(0.05, slots=2, most=256) == pytest.approx(100, abs=1)


def test_no_more_than_the_most_are_claimed_ahead() -> None:
    assert after(*[0.0] * 50).ahead(0.05, slots=8, most=256) == 256


def test_one_long_job_is_believed_at_once() -> None:
    estimate = after(*[0.001] * 50, 5.0)

    assert estimate.mean == 5.0
    assert estimate.ahead(0.05, slots=2, most=256) == 0


def test_short_jobs_are_believed_in_numbers_only() -> None:
    estimate = after(5.0)

    for _ in range(20):
        estimate.saw(0.001)
    assert not estimate.very_short
    for _ in range(180):
        estimate.saw(0.001)
    assert estimate.very_short


def test_a_blockage_is_believed_at_once_whatever_came_before() -> None:
    for estimate in (after(*[0.001] * 50), ShortJobs()):
        estimate.saw_blockage()

        assert estimate.mean == 1.0
        assert not estimate.very_short


def test_a_blockage_does_not_make_long_jobs_shorter() -> None:
    estimate = after(60.0)

    estimate.saw_blockage()

    assert estimate.mean == 60.0
