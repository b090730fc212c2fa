"""Schedules: what may be said, the slots that follow, and what becomes of those that were missed."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backroom.model.errors import InvalidInput, TooLarge
from backroom.model.options import LATEST_MS, JobOptions
from backroom.model.schedule import MAX_CATCH_UP, ScheduleSpec, parse_schedule

#: 2026-01-01T00:00:00Z, in ms.
NOW = 1_767_225_600_000
SECOND, MINUTE, DAY = 1000, 60_000, 86_400_000
JOB = {"name": "task"}


def spec(**fields: Any) -> ScheduleSpec:
    """A valid schedule."""
    return parse_schedule({"job": JOB} | fields)


def slots(schedule: ScheduleSpec, number: int, *, start: int = NOW, anchor: int = NOW) -> list[int]:
    """The next slots, from now on: as ms after now."""
    return [slot - NOW for slot in islice(schedule.slots_from(start, anchor), number)]


def fired(schedule: ScheduleSpec, *, due: int, now: int, anchor: int = NOW) -> list[int]:
    """The slots that are fired when those since ``due`` were missed: as ms after NOW, as all times here."""
    return [slot - NOW for slot in schedule.plan(NOW + due, NOW + now, anchor).fire]


def refusal(raw: object) -> list[tuple[str, str]]:
    """Pointer and code of each thing that is wrong."""
    with pytest.raises(InvalidInput) as refused:
        parse_schedule(raw)
    return [(error.pointer, error.code) for error in refused.value.errors]


# Slots.


def test_every_is_a_grid_that_begins_at_once() -> None:
    assert slots(spec(every=SECOND), 3) == [0, 1000, 2000]


def test_the_grid_does_not_drift() -> None:
    assert slots(spec(every=700), 3, start=NOW + 1_000_001) == [1_000_300, 1_001_000, 1_001_700]


def test_a_start_is_where_the_grid_begins() -> None:
    later = spec(every=SECOND, startDate="2026-01-01T00:00:05.250Z")
    assert slots(later, 2, anchor=later.anchor(NOW)) == [5250, 6250]


def test_a_start_of_the_past_is_where_the_grid_began() -> None:
    earlier = spec(every=SECOND, startDate="2025-12-31T23:59:59.600Z")
    assert slots(earlier, 2, anchor=earlier.anchor(NOW)) == [600, 1600]


def test_a_start_at_the_epoch_is_a_start() -> None:
    assert spec(every=SECOND, startDate="1970-01-01T00:00:00Z").anchor(NOW) == 0


def test_a_pattern_has_no_slot_before_its_start_and_none_after_its_end() -> None:
    bounded = spec(pattern="0 0 * * *", startDate="2026-01-03T00:00:00Z", endDate="2026-01-04T00:00:00Z")
    assert slots(bounded, 9) == [2 * DAY, 3 * DAY]


def test_parts_of_a_ms_are_never_early() -> None:
    later = spec(every=SECOND, startDate="2026-01-01T00:00:00.0001Z")
    assert slots(later, 1, anchor=later.anchor(NOW)) == [1]


def test_a_pattern_is_read_in_its_zone() -> None:
    assert slots(spec(pattern="0 3 * * *", tz="Asia/Kolkata"), 1) == [21 * 3_600_000 + 30 * MINUTE]


def test_the_end_may_be_before_now() -> None:
    assert spec(every=SECOND, endDate="2025-01-01T00:00:00Z").next_slot(NOW, NOW) is None


def test_slots_end_in_2100() -> None:
    assert list(spec(every=10 * 365 * DAY).slots_from(NOW, NOW))[-1] < LATEST_MS
    assert list(spec(pattern="0 0 1 1 *").slots_from(NOW, NOW))[-1] < LATEST_MS


def test_there_is_no_next_slot_once_it_fired_as_often_as_it_may() -> None:
    assert spec(every=SECOND, limit=3).next_slot(NOW, NOW, 2) == NOW
    assert spec(every=SECOND, limit=3).next_slot(NOW, NOW, 3) is None


# Missed slots.


def test_what_is_due_on_time_is_fired_whatever_the_policy() -> None:
    for policy in ("skip", "one", "all"):
        assert fired(spec(every=SECOND, misfire=policy), due=0, now=3) == [0]


def test_a_second_late_is_on_time() -> None:
    assert fired(spec(every=DAY, misfire="skip"), due=0, now=1000) == [0]
    assert fired(spec(every=DAY, misfire="skip"), due=0, now=1001) == []


def test_several_slots_within_the_last_second_are_on_time() -> None:
    for policy in ("skip", "one", "all"):
        assert fired(spec(every=200, misfire=policy), due=0, now=500) == [0, 200, 400]


def test_skip_leaves_out_what_is_late_and_nothing_else() -> None:
    assert fired(spec(every=400, misfire="skip"), due=0, now=5100) == [4400, 4800]
    assert fired(spec(every=MINUTE, misfire="skip"), due=0, now=10 * MINUTE - 1) == []


def test_one_makes_up_the_newest_only() -> None:
    assert fired(spec(every=SECOND, misfire="one"), due=0, now=5500) == [5000]
    assert fired(spec(pattern="0 0 * * *", misfire="one"), due=0, now=9 * DAY + 5) == [9 * DAY]


def test_all_makes_up_all_in_order() -> None:
    assert fired(spec(every=SECOND, misfire="all"), due=0, now=4500) == [0, 1000, 2000, 3000, 4000]


@pytest.mark.parametrize("rhythm", [{"every": SECOND}, {"pattern": "* * * * * *"}])
def test_all_makes_up_the_newest_hundred_however_long_it_was(rhythm: dict[str, Any]) -> None:
    made_up = fired(spec(**rhythm, misfire="all"), due=0, now=400 * DAY)
    assert made_up == [400 * DAY - 1000 * back for back in reversed(range(MAX_CATCH_UP))]


def test_all_looks_back_over_long_gaps() -> None:
    leap_days = fired(spec(pattern="0 0 29 2 *", misfire="all"), due=0, now=70 * 366 * DAY)
    assert len(leap_days) == 17


def test_what_must_not_overlap_fires_one_at_a_time() -> None:
    for policy in ("skip", "one", "all"):
        assert fired(spec(every=200, misfire=policy, overlap=False), due=0, now=900) == [800]


def test_the_slot_after_is_the_first_that_is_not_due() -> None:
    assert spec(every=SECOND).plan(NOW, NOW + 5500, NOW).next == NOW + 6000
    assert spec(every=SECOND).plan(NOW, NOW, NOW).next == NOW + 1000
    assert spec(every=SECOND, endDate="2026-01-01T00:00:05Z").plan(NOW, NOW + 5500, NOW).next is None


@given(
    st.sampled_from([{"every": 700}, {"every": 90_000}, {"pattern": "*/7 * * * * *"}, {"pattern": "*/5 * * * *"}]),
    st.sampled_from(["skip", "one", "all"]),
    st.integers(0, 40 * MINUTE),
)
def test_no_slot_is_planned_twice_and_none_is_early(rhythm: dict[str, Any], policy: str, late: int) -> None:
    schedule = spec(**rhythm, misfire=policy)
    due = next(schedule.slots_from(NOW, NOW))
    plan = schedule.plan(due, due + late, NOW)
    assert list(plan.fire) == sorted(set(plan.fire))
    assert all(due <= slot <= due + late for slot in plan.fire)
    assert plan.next is not None
    assert plan.next > due + late
    assert len(plan.fire) <= MAX_CATCH_UP


# Words.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"every": 1000}, "Every second"),
        ({"every": 90_000}, "Every 90 seconds"),
        ({"every": 3_600_000}, "Every hour"),
        ({"every": 172_800_000}, "Every 2 days"),
        ({"every": 1500}, "Every 1500 ms"),
        ({"pattern": "*/5 * * * *"}, "Every 5 minutes"),
        ({"pattern": "0 3 * * *", "tz": "Europe/Berlin"}, "At 03:00 (Europe/Berlin)"),
        ({"pattern": "30 15 14 * * MON-FRI"}, "At 14:15:30, Monday through Friday"),
    ],
)
def test_schedules_are_told_in_words(fields: dict[str, Any], words: str) -> None:
    assert spec(**fields).description() == words


NUMBER = st.integers(0, 59).map(str)
TERM = st.one_of(
    st.just("*"),
    NUMBER,
    st.tuples(NUMBER, NUMBER).map("-".join),
    st.tuples(st.sampled_from(["*", "1-5", "3"]), NUMBER).map("/".join),
    st.sampled_from(["L", "LW", "MON", "MON-FRI", "JAN", "5L", "1#2", "7", "?", "W", "1W"]),
)
FIELD = st.lists(TERM, min_size=1, max_size=3).map(",".join)


@given(st.lists(FIELD, min_size=4, max_size=7).map(" ".join) | st.text("0123456789*/,-LW#? \t\n²", max_size=40))
def test_every_pattern_is_refused_in_words_or_told_in_words(pattern: str) -> None:
    schedule, refused_at = None, set()
    try:
        schedule = spec(pattern=pattern)
    except InvalidInput as refused:
        refused_at = {error.pointer for error in refused.errors}
    if schedule is None:
        assert refused_at == {"/pattern"}
    else:
        assert schedule.description()
        assert len(slots(schedule, 3)) == 3


# What may be said.


def test_what_is_left_out_has_its_default() -> None:
    schedule = spec(every=SECOND)
    assert (schedule.tz, schedule.misfire, schedule.overlap, schedule.paused) == ("UTC", "one", True, None)
    assert (schedule.job.data, schedule.job.queue, schedule.job.options) == ({}, None, JobOptions())


def test_everything_wrong_is_told_at_once() -> None:
    raw = {"pattern": "x", "tz": "Nowhere", "job": {"name": "a b", "queue": "", "options": {"delay": 1, "lifo": "y"}}}
    assert refusal(raw) == [
        ("/job/options/lifo", "bool-type"),
        ("/job/name", "invalid-name"),
        ("/job/queue", "invalid-name"),
        ("/tz", "unknown-time-zone"),
    ]


@pytest.mark.parametrize("option", ["jobId", "delay", "runAt"])
def test_a_schedule_gives_each_job_its_id_and_its_time(option: str) -> None:
    value = {"jobId": "x", "delay": 0, "runAt": "2030-01-01T00:00:00Z"}[option]
    raw = {"every": SECOND, "job": JOB | {"options": {option: value}}}
    assert refusal(raw) == [(f"/job/options/{option}", "foreign-option")]


@pytest.mark.parametrize("raw", [None, [], "x", 1])
def test_a_schedule_is_an_object(raw: object) -> None:
    assert refusal(raw) == [("", "invalid-type")]


@pytest.mark.parametrize(
    "moment",
    ["1900000000", "2030-01-01", "2030-01-01T00:00:00", "tomorrow", "1969-12-31T23:59:59Z", "2100-01-01T00:00Z"],
)
def test_a_start_is_a_time_of_a_zone_that_can_come(moment: str) -> None:
    assert [pointer for pointer, _ in refusal({"every": SECOND, "job": JOB, "startDate": moment})] == ["/startDate"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_beyond_the_calendar_are_refused(moment: str) -> None:
    assert [pointer for pointer, _ in refusal({"every": SECOND, "job": JOB, "endDate": moment})] == ["/endDate"]


def test_an_end_may_be_far_beyond_the_last_slot() -> None:
    assert slots(spec(every=SECOND, endDate="9999-12-31T23:59:59Z"), 1) == [0]


# Its job.


def test_the_type_fills_in_what_the_schedule_leaves_open() -> None:
    schedule = parse_schedule({"every": SECOND, "job": {"name": "task", "options": {"attempts": 2}}})
    template = schedule.template(JobOptions(attempts=5, priority=3))
    assert (template.queue, template.options.attempts, template.options.priority) == ("default", 2, 3)


def test_the_data_is_checked_as_that_of_a_submission() -> None:
    with pytest.raises(InvalidInput) as refused:
        spec(every=SECOND, job={"name": "task", "data": float("nan")}).template()
    assert refused.value.errors[0].pointer == "/job/data"
    with pytest.raises(TooLarge):
        spec(every=SECOND, job={"name": "task", "data": "x" * 300_000}).template()
