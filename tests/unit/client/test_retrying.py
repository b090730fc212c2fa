"""How long to wait before the next try, and when to stop trying."""

from datetime import UTC, datetime

import pytest

from backroom.client.retrying import RetryPolicy, retry_after_seconds


@pytest.mark.parametrize(
    ("chance", "pauses"),
    [(0.0, [0.125, 0.25, 0.5, 1.0, 1.5, 1.5, None]), (0.5, [0.1875, 0.375, 0.75, 1.5, 2.25, 2.25, None])],
)
def test_waits_double_up_to_the_longest_and_are_cut_short_by_chance(chance, pauses):
    policy = RetryPolicy(retries=6, first=0.25, longest=3.0, random=lambda: chance)
    assert [policy.pause(tried) for tried in range(1, 8)] == pauses


@pytest.mark.parametrize(
    ("asked", "pause"),
    [(None, 0.1875), (0, 0.125), (2, 2.125), (60, 60.125), (61, None)],
)
def test_a_server_that_asks_for_patience_gets_it_within_reason(asked, pause):
    assert RetryPolicy(random=lambda: 0.5).pause(1, asked) == pause


def test_no_retries_means_none():
    assert RetryPolicy(retries=0).pause(1) is None


NOW = datetime(2030, 1, 31, 9, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        (" 0 ", 0.0),
        ("Thu, 31 Jan 2030 09:00:30 GMT", 30.0),
        ("Thu, 31 Jan 2030 08:00:00 GMT", 0.0),
        ("Thu, 31 Jan 2030 09:00:30 -0000", 30.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after_seconds(header, lambda: NOW) == seconds
