"""Backoff: how long a failed job waits before its next try."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backroom.model.backoff import MAX_BACKOFF_SECONDS, Backoff, Exponential, Fixed, milliseconds_of, seconds_of

delays = st.floats(0, MAX_BACKOFF_SECONDS)
attempts = st.integers(1, 10_000)


def test_a_fixed_backoff_is_always_the_same() -> None:
    assert [Fixed(0.5).seconds(attempt) for attempt in (1, 2, 10)] == [0.5, 0.5, 0.5]


def test_an_exponential_backoff_doubles() -> None:
    assert [Exponential(0.2).seconds(attempt) for attempt in (1, 2, 3, 4)] == [0.2, 0.4, 0.8, 1.6]


def test_no_wait_is_longer_than_a_year() -> None:
    assert Exponential(1).seconds(10_000) == MAX_BACKOFF_SECONDS


def test_jitter_shortens_a_wait_by_its_share_at_most() -> None:
    rule = Fixed(10, jitter=0.5)

    assert rule.seconds(1, lambda: 0.0) == 5
    assert rule.seconds(1, lambda: 0.5) == 7.5
    assert rule.seconds(1, lambda: 0.999_999) < 10


@given(delays, st.floats(0, 1), attempts, st.floats(0, 1, exclude_max=True))
def test_a_wait_with_jitter_lies_between_its_bounds(delay: float, jitter: float, attempt: int, chance: float) -> None:
    for kind in (Fixed, Exponential):
        longest = kind(delay).seconds(attempt)
        wait = kind(delay, jitter=jitter).seconds(attempt, lambda: chance)
        assert longest * (1 - jitter) * 0.999_999 <= wait <= longest


def test_waits_with_jitter_differ() -> None:
    assert len({Fixed(1, jitter=0.5).seconds(1) for _ in range(200)}) > 100


def test_a_delay_may_be_a_timedelta() -> None:
    assert Fixed(timedelta(minutes=1)) == Fixed(60)
    assert seconds_of(timedelta(milliseconds=250)) == 0.25
    assert seconds_of(3) == 3.0


@pytest.mark.parametrize("delay", [-1, MAX_BACKOFF_SECONDS + 1, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_an_impossible_delay_is_refused(delay: float | timedelta) -> None:
    with pytest.raises(ValueError, match="delay must be between"):
        Fixed(delay)


@pytest.mark.parametrize("jitter", [-0.1, 1.1, float("nan")])
def test_an_impossible_jitter_is_refused(jitter: float) -> None:
    with pytest.raises(ValueError, match="jitter must be between 0 and 1"):
        Exponential(1, jitter=jitter)


def test_rules_of_different_kinds_are_not_equal() -> None:
    assert Fixed(1) != Exponential(1)


def test_the_base_is_no_rule() -> None:
    with pytest.raises(NotImplementedError, match="use Fixed or Exponential"):
        Backoff(1).seconds(1)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0, 0), (16.1, 16100), (2.007, 2007), (0.0001, 1), (1.00049, 1001), (timedelta(microseconds=1), 1), (-1, -1000)],
)
def test_durations_are_rounded_up_to_whole_milliseconds(seconds: float | timedelta, milliseconds: int) -> None:
    assert milliseconds_of(seconds) == milliseconds


@given(st.integers(0, 10**9))
def test_whole_milliseconds_stay_what_they_are(milliseconds: int) -> None:
    assert milliseconds_of(milliseconds / 1000) == milliseconds
