"""Cron patterns in time zones, around the days on which the clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backroom.model.cron import Cron

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
#: A local noon before each change of the clock in 2026, by zone.
SPRING = {BERLIN: "2026-03-28T12:00", NEW_YORK: "2026-03-07T12:00", LORD_HOWE: "2026-10-03T12:00"}
AUTUMN = {BERLIN: "2026-10-24T12:00", NEW_YORK: "2026-10-31T12:00", LORD_HOWE: "2026-04-04T12:00"}


def instant(local: str, zone: str, *, fold: int = 0) -> int:
    """The instant of a local time."""
    return int(datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp())


def shown(instants: list[int], zone: str) -> list[str]:
    """Local times: day, time, offset."""
    return [datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%d %H:%M %z") for at in instants]


def following(pattern: str, start: str, zone: str, number: int) -> list[str]:
    """The next local times from a local start."""
    return shown(list(islice(Cron(pattern, zone).instants(instant(start, zone)), number)), zone)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("30 4 * * *", ["02 04:30 +0000", "03 04:30 +0000"]),
        ("0 0 4 * * *", ["02 04:00 +0000", "03 04:00 +0000"]),
        ("*/20 12 * * *", ["01 12:00 +0000", "01 12:20 +0000"]),
        ("0 0 * * MON#2", ["14 00:00 +0000", "12 00:00 +0000"]),
        ("0 0 L * *", ["30 00:00 +0000", "31 00:00 +0000"]),
        ("0 0 LW * *", ["30 00:00 +0000", "30 00:00 +0000"]),
        ("0 0 * * 5L", ["25 00:00 +0000", "30 00:00 +0000"]),
        ("0 0 29 2 *", ["29 00:00 +0000", "29 00:00 +0000"]),
        ("0 0 13 * FRI", ["04 00:00 +0000", "11 00:00 +0000"]),  # either day will do ...
        ("0 0 */31,13 * FRI", ["13 00:00 +0000", "01 00:00 +0000"]),  # ... unless one begins with a star
        ("0 0 1 1-12/3 7,0", ["01 00:00 +0000", "04 00:00 +0000"]),
    ],
)
def test_patterns_name_their_instants(pattern: str, expected: list[str]) -> None:
    assert following(pattern, "2026-09-01T12:00", "UTC", 2) == expected


def test_seconds_stand_first() -> None:
    start = instant("2026-09-01T12:00", "UTC")
    assert list(islice(Cron("*/20 * * * * *", "UTC").instants(start + 1), 3)) == [start + 20, start + 40, start + 60]


def test_the_start_itself_counts() -> None:
    start = instant("2026-09-01T04:00", BERLIN)
    assert next(Cron("0 4 * * *", BERLIN).instants(start)) == start


@pytest.mark.parametrize(
    ("zone", "pattern", "expected"),
    [
        (BERLIN, "30 2 * * *", ["29 03:00 +0200", "30 02:30 +0200"]),
        (NEW_YORK, "30 2 * * *", ["08 03:00 -0400", "09 02:30 -0400"]),
        (LORD_HOWE, "15 2 * * *", ["04 02:30 +1100", "05 02:15 +1100"]),
        (BERLIN, "0 30 2 * * *", ["29 03:00 +0200", "30 02:30 +0200"]),  # with seconds too
        (BERLIN, "0,15,30 2 * * *", ["29 03:00 +0200", "30 02:00 +0200"]),  # several become one
        (BERLIN, "0,30 2,3 * * *", ["29 03:00 +0200", "29 03:30 +0200"]),  # and one with what stands there already
    ],
)
def test_a_time_that_the_spring_skips_comes_right_after_the_gap(zone: str, pattern: str, expected: list[str]) -> None:
    assert following(pattern, SPRING[zone], zone, 2) == expected


@pytest.mark.parametrize(
    ("zone", "pattern", "expected"),
    [
        (BERLIN, "30 2 * * *", ["25 02:30 +0200", "26 02:30 +0100"]),
        (NEW_YORK, "30 1 * * *", ["01 01:30 -0400", "02 01:30 -0500"]),
        (LORD_HOWE, "45 1 * * *", ["05 01:45 +1100", "06 01:45 +1030"]),
        (BERLIN, "0 30 2 * * *", ["25 02:30 +0200", "26 02:30 +0100"]),
    ],
)
def test_a_time_that_the_autumn_repeats_comes_once(zone: str, pattern: str, expected: list[str]) -> None:
    assert following(pattern, AUTUMN[zone], zone, 2) == expected


@pytest.mark.parametrize(
    ("zone", "start", "expected"),
    [
        (BERLIN, "2026-03-29T01:00", ["29 01:00 +0100", "29 01:30 +0100", "29 03:00 +0200", "29 03:30 +0200"]),
        (NEW_YORK, "2026-03-08T01:00", ["08 01:00 -0500", "08 01:30 -0500", "08 03:00 -0400", "08 03:30 -0400"]),
        (LORD_HOWE, "2026-10-04T01:00", ["04 01:00 +1030", "04 01:30 +1030", "04 02:30 +1100", "04 03:00 +1100"]),
        (BERLIN, "2026-10-25T02:00", ["25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100"]),
        (NEW_YORK, "2026-11-01T01:00", ["01 01:00 -0400", "01 01:30 -0400", "01 01:00 -0500", "01 01:30 -0500"]),
        (LORD_HOWE, "2026-04-05T01:00", ["05 01:00 +1100", "05 01:30 +1100", "05 01:30 +1030", "05 02:00 +1030"]),
    ],
)
def test_a_pattern_with_a_star_in_its_time_follows_the_clock(zone: str, start: str, expected: list[str]) -> None:
    assert following("*/30 * * * *", start, zone, 4) == expected


def test_other_hours_of_the_day_of_a_half_hour_change_are_not_missed() -> None:
    assert following("*/20 4 * * *", SPRING[LORD_HOWE], LORD_HOWE, 2) == ["04 04:00 +1100", "04 04:20 +1100"]
    assert following("0 0 2 * * *", AUTUMN[LORD_HOWE], LORD_HOWE, 1) == ["05 02:00 +1030"]


def test_a_start_in_the_second_showing_of_an_hour_names_nothing_of_the_past() -> None:
    start = instant("2026-10-25T02:30", BERLIN, fold=1)
    found = list(islice(Cron("45 2 * * *", BERLIN).instants(start), 1))
    assert shown(found, BERLIN) == ["26 02:45 +0100"]


@pytest.mark.parametrize(
    ("zone", "start", "pattern", "expected"),
    [
        ("America/Santiago", "2026-09-05T12:00", "0 0 * * *", ["06 01:00 -0300", "07 00:00 -0300"]),
        ("America/Scoresbysund", "2026-03-28T12:00", "30 23 * * *", ["29 00:00 -0100", "29 23:30 -0100"]),
        ("Asia/Beirut", "2026-10-24T12:00", "30 23 * * *", ["24 23:30 +0300", "25 23:30 +0200"]),
        ("America/Havana", "2026-10-31T12:00", "30 0 * * *", ["01 00:30 -0400", "02 00:30 -0500"]),
    ],
)
def test_changes_at_midnight(zone: str, start: str, pattern: str, expected: list[str]) -> None:
    assert following(pattern, start, zone, 2) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8"),
        *("@daily", "a b c d e", "*/0 * * * *", "5-1 * * * *", "1,,2 * * * *", "- * * * *", "/ * * * *"),
        *("0 0 * * MON#6", "0 0 * * 1#2/3", "0 0 L/2,x * *", "0 0 30 2 *", "² * * * *", "1" * 250, "1," * 120 + "x"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Cron(pattern, "UTC")


def test_a_pattern_that_never_comes_ends() -> None:
    # A 1st that is a fifth Monday: the parser of the fields sees nothing wrong with it.
    assert list(Cron("0 0 */31 2 MON#5", "UTC").instants(0)) == []


FIELDS = st.lists(st.integers(0, 59), min_size=1, max_size=4, unique=True)
HOURS = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)
ZONES = st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, "Africa/Casablanca", "America/Santiago", "Asia/Beirut", "UTC"])
DAYS = st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1))  # noqa: DTZ001 - local days of any zone
"""Some days, most of them without a change."""


def days_of_change(zone: str) -> list[datetime]:
    """Local midnights of some days on which the clock of the zone changes, and of their eves."""
    found = []
    day = datetime(2025, 1, 1, tzinfo=UTC)
    while day < datetime(2027, 1, 1, tzinfo=UTC):
        after = day + timedelta(days=1)
        if day.astimezone(ZoneInfo(zone)).utcoffset() != after.astimezone(ZoneInfo(zone)).utcoffset():
            found += [day.replace(tzinfo=None) - timedelta(days=1), day.replace(tzinfo=None)]
        day = after
    return found


@st.composite
def days(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone and a day there, more often than not one on which the clock changes."""
    zone = draw(ZONES)
    changes = days_of_change(zone)
    return zone, draw(st.sampled_from(changes) | DAYS if changes else DAYS)


def by_the_clock(zone: str, start: int, end: int, hours: list[int], minutes: list[int]) -> list[int]:
    """All instants at which the clock shows one of the times."""
    found = []
    for at in range(start, end, 60):
        local = datetime.fromtimestamp(at, ZoneInfo(zone))
        if local.hour in hours and local.minute in minutes:
            found.append(at)
    return found


def once_a_day(zone: str, start: int, end: int, hours: list[int], minutes: list[int]) -> list[int]:
    """Each time of each day once: when the clock shows it first, or passes over it."""
    seen: dict[tuple[str, int], int] = {}
    latest = None  # the latest time of a day that the clock has shown
    for at in range(start - 86_400, end, 60):
        local = datetime.fromtimestamp(at, ZoneInfo(zone)).replace(tzinfo=None)
        passed = local if latest is None else latest + timedelta(minutes=1)
        while passed <= local:
            if passed.hour in hours and passed.minute in minutes:
                seen.setdefault((str(passed.date()), passed.hour * 60 + passed.minute), at)
            passed += timedelta(minutes=1)
        latest = local if latest is None else max(latest, local)
    return sorted({at for at in seen.values() if at >= start})


@settings(deadline=None)
@given(where=days(), hours=HOURS, minutes=FIELDS, starred=st.booleans())
def test_three_days_are_as_a_look_at_every_minute_finds_them(
    where: tuple[str, datetime], hours: list[int], minutes: list[int], *, starred: bool
) -> None:
    zone, day = where
    start = int(day.replace(second=0, microsecond=0, tzinfo=ZoneInfo(zone)).timestamp())
    end = start + 3 * 86_400
    minute_field = "*" if starred else ",".join(map(str, minutes))
    pattern = f"{minute_field} {','.join(map(str, hours))} * * *"
    found = list(takewhile(lambda at: at < end, Cron(pattern, zone).instants(start)))
    expected = (
        by_the_clock(zone, start, end, hours, list(range(60)))
        if starred
        else once_a_day(zone, start, end, hours, minutes)
    )
    assert found == expected


@settings(deadline=None)
@given(days(), HOURS, FIELDS, st.integers(0, 2 * 86_400))
def test_where_one_begins_to_look_does_not_matter(
    where: tuple[str, datetime], hours: list[int], minutes: list[int], later: int
) -> None:
    zone, day = where
    cron = Cron(f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *", zone)
    start = int(day.replace(tzinfo=ZoneInfo(zone)).timestamp())
    end = start + 3 * 86_400
    every = list(takewhile(lambda at: at < end, cron.instants(start)))
    assert list(takewhile(lambda at: at < end, cron.instants(start + later))) == [
        at for at in every if at >= start + later
    ]
