"""Durations, rates, times and JSON, as people type them and as they read them."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import click
import pytest

from backroom.client import Exponential, Rate
from backroom.client.cli import words

NOW = datetime(2030, 1, 31, 9, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("30s", 30), ("1h30m", 5400), ("250ms", 0.25), ("90", 90), ("1.5", 1.5), ("2d", 172_800), (" 5M ", 300), ("0", 0)],
)
def test_a_duration_is_typed_with_units_or_in_seconds(typed, seconds):
    assert words.DURATION.convert(typed, None, None) == seconds


@pytest.mark.parametrize("typed", ["", "soon", "5x", "5s later", "-5s", "1h 30m", "1e3", "inf", "٣s"])
def test_anything_else_is_no_duration(typed):
    with pytest.raises(click.BadParameter, match="is not a duration such as 30s"):
        words.DURATION.convert(typed, None, None)


@pytest.mark.parametrize(
    ("typed", "rate"), [("10/1s", Rate(10, 1)), ("600/m", Rate(600, 60)), ("1/250ms", Rate(1, 0.25))]
)
def test_a_rate_is_so_many_in_such_a_time(typed, rate):
    assert words.RATE.convert(typed, None, None) == rate


@pytest.mark.parametrize("typed", ["10", "10/", "/s", "ten/s", "10/s/s"])
def test_anything_else_is_no_rate(typed):
    with pytest.raises(click.BadParameter, match="is not a rate such as 10/1s"):
        words.RATE.convert(typed, None, None)


@pytest.mark.parametrize(
    ("typed", "backoff"),
    [("5s", 5), ("exponential:1s", Exponential(1)), ("exponential:2:0.5", Exponential(2, jitter=0.5))],
)
def test_a_backoff_is_fixed_or_exponential(typed, backoff):
    assert words.BACKOFF.convert(typed, None, None) == backoff


@pytest.mark.parametrize("typed", ["linear:1s", "exponential:", "exponential:1s:2", "exponential:1s:x", "fast"])
def test_anything_else_is_no_backoff(typed):
    with pytest.raises(click.BadParameter, match="is not a backoff such as 5s"):
        words.BACKOFF.convert(typed, None, None)


def test_a_time_has_a_zone_or_is_of_this_machines():
    assert words.MOMENT.convert("2030-01-31T09:00Z", None, None) == NOW
    local = words.MOMENT.convert("2030-01-31 09:00", None, None)
    assert local == datetime(2030, 1, 31, 9, 0).astimezone()
    assert local.tzinfo is not None
    with pytest.raises(click.BadParameter, match="is not a time such as"):
        words.MOMENT.convert("2h", None, None)


def test_where_the_past_is_meant_a_duration_is_a_time():
    before = datetime.now(UTC)
    since = words.SINCE.convert("2h", None, None)
    assert before - timedelta(hours=2) <= since <= datetime.now(UTC) - timedelta(hours=2)
    assert words.SINCE.convert("2030-01-31T09:00Z", None, None) == NOW


def test_data_is_typed_or_comes_from_a_file_or_from_standard_input(tmp_path, monkeypatch):
    assert words.JSON.convert('{"a": [1]}', None, None) == {"a": [1]}
    file = tmp_path / "data.json"
    file.write_text(json.dumps({"b": "ä"}), "utf-8")
    assert words.JSON.convert(f"@{file}", None, None) == {"b": "ä"}
    monkeypatch.setattr("sys.stdin", io.StringIO("[3]"))
    assert words.JSON.convert("-", None, None) == [3]


@pytest.mark.parametrize(
    ("typed", "words_of_it"),
    [
        ('{"a": ', r"this is not JSON: Expecting value \(line 1, column 7\)"),
        ("", "this is not JSON"),
        ("@/nowhere/at/all", "/nowhere/at/all cannot be read: No such file or directory"),
    ],
)
def test_data_that_is_none_is_refused_with_its_place(typed, words_of_it):
    with pytest.raises(click.BadParameter, match=words_of_it):
        words.JSON.convert(typed, None, None)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "image").write_bytes(b"\xff\xd8")
    with pytest.raises(click.BadParameter, match="not UTF-8"):
        words.JSON.convert(f"@{tmp_path / 'image'}", None, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0004, "0ms"),
        (0.25, "250ms"),
        (1, "1s"),
        (1.55, "1.6s"),
        (9.97, "10s"),
        (12.4, "12s"),
        (60, "1m"),
        (200, "3m 20s"),
        (3600, "1h"),
        (3661, "1h 1m"),
        (90_000, "1d 1h"),
        (86_460, "1d"),
    ],
)
def test_a_duration_is_read_in_two_words_at_most(seconds, text):
    assert words.duration_text(seconds) == text


def test_a_time_is_read_as_how_long_ago():
    assert words.ago(NOW - timedelta(minutes=5), NOW) == "5m ago"
    assert words.ago(NOW + timedelta(minutes=5), NOW) == "in 5m"
    assert words.ago(None, NOW) == words.moment_text(None, NOW) == words.clock_time(None) == ""
    assert words.moment_text(NOW, NOW).endswith("(0ms ago)")
    assert words.clock_time(NOW.replace(microsecond=7000)).endswith(":00:00.007")
