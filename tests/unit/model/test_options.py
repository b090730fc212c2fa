"""Options of a job: BullMQ's names and units, and an answer to everything that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from backroom.model.backoff import MAX_BACKOFF_SECONDS, Exponential, Fixed
from backroom.model.errors import InvalidInput
from backroom.model.options import LATEST_MS, MAX_DURATION_MS, JobOptions, Retention, check_run_at, parse_options

EVERYTHING: dict[str, Any] = {
    "jobId": "order-1",
    "attempts": 5,
    "backoff": {"type": "exponential", "delay": 200, "jitter": 0.5},
    "delay": 1000,
    "priority": 7,
    "lifo": True,
    "timeout": 60_000,
    "ttl": 3_600_000,
    "removeOnComplete": {"age": 60, "count": 10},
    "removeOnFail": False,
    "maxStalled": 0,
    "tags": ["a", "b c"],
    "webhook": {"url": "https://shop.example/hooks?k=1", "events": ["completed", "failed"]},
}


def errors(raw: object) -> list[tuple[str, str]]:
    """What is wrong: pointers and codes."""
    with pytest.raises(InvalidInput) as refused:
        parse_options(raw)
    return [(error.pointer, error.code) for error in refused.value.errors]


def test_no_options_are_options() -> None:
    assert parse_options(None) == parse_options({}) == JobOptions()
    assert JobOptions().to_dict() == {}


def test_everything_comes_back_as_it_was_given() -> None:
    assert parse_options(EVERYTHING).to_dict() == EVERYTHING


def test_a_number_as_backoff_is_a_fixed_one() -> None:
    assert parse_options({"backoff": 500}).to_dict()["backoff"] == {"type": "fixed", "delay": 500}


def test_a_number_to_keep_is_a_count() -> None:
    assert parse_options({"removeOnComplete": 3}).remove_on_complete == Retention(count=3)


def test_a_backoff_makes_a_rule_in_seconds() -> None:
    fixed = parse_options({"backoff": 500}).backoff
    exponential = parse_options({"backoff": {"type": "exponential", "delay": 200, "jitter": 0.25}}).backoff
    longest = parse_options({"backoff": MAX_DURATION_MS}).backoff

    assert fixed is not None
    assert exponential is not None
    assert longest is not None
    assert fixed.rule() == Fixed(0.5)
    assert exponential.rule() == Exponential(0.2, jitter=0.25)
    assert longest.rule() == Fixed(MAX_BACKOFF_SECONDS)


def test_tags_that_come_twice_are_kept_once_in_their_order() -> None:
    assert parse_options({"tags": ["b", "a", "b"]}).tags == ("b", "a")


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("priority", -1, "greater-than-equal"),
        ("priority", 2_097_152, "less-than-equal"),
        ("priority", 1.5, "int-type"),
        ("priority", "1", "int-type"),
        ("priority", True, "int-type"),
        ("attempts", 0, "greater-than-equal"),
        ("attempts", 10_001, "less-than-equal"),
        ("delay", -1, "greater-than-equal"),
        ("delay", MAX_DURATION_MS + 1, "less-than-equal"),
        ("delay", "soon", "int-type"),
        ("timeout", 0, "greater-than-equal"),
        ("ttl", 0, "greater-than-equal"),
        ("maxStalled", -1, "greater-than-equal"),
        ("lifo", "yes", "bool-type"),
        ("lifo", 1, "bool-type"),
        ("jobId", "a:b", "value-error"),
        ("jobId", "", "value-error"),
        ("jobId", "..", "value-error"),
        ("jobId", 12, "string-type"),
        ("runAt", 1_700_000_000, "value-error"),
        ("runAt", "1700000000", "value-error"),
        ("runAt", "tomorrow", "value-error"),
        ("runAt", "2030-01-01", "value-error"),
        ("runAt", "2030-13-01T00:00:00Z", "datetime-from-date-parsing"),
        ("removeOnComplete", "all", "invalid-retention"),
        ("removeOnComplete", 1.5, "invalid-retention"),
        ("removeOnFail", [], "invalid-retention"),
        ("tags", "a", "tuple-type"),
        ("tags", [str(number) for number in range(11)], "too-long"),
    ],
)
def test_a_value_that_is_wrong_is_refused_at_its_place(option: str, value: object, code: str) -> None:
    [(pointer, found)] = errors({option: value})

    assert pointer == f"/options/{option}"
    assert found == code


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        ({"backoff": {"type": "linear", "delay": 1}}, "/options/backoff/type"),
        ({"backoff": {"type": "fixed", "delay": -1}}, "/options/backoff/delay"),
        ({"backoff": {"type": "fixed", "jitter": 1.2}}, "/options/backoff/jitter"),
        ({"backoff": {"type": "fixed", "jitter": "0.5"}}, "/options/backoff/jitter"),
        ({"backoff": {"type": "fixed", "jitter": float("nan")}}, "/options/backoff/jitter"),
        ({"backoff": {"type": "fixed", "delays": 1}}, "/options/backoff/delays"),
        ({"removeOnComplete": {}}, "/options/removeOnComplete"),
        ({"removeOnComplete": {"age": -1}}, "/options/removeOnComplete/age"),
        ({"removeOnComplete": {"age": 1, "limit": 2}}, "/options/removeOnComplete/limit"),
        ({"removeOnFail": -1}, "/options/removeOnFail/count"),
        ({"tags": ["ok", ""]}, "/options/tags/1"),
        ({"tags": ["a\nb"]}, "/options/tags/0"),
        ({"tags": ["x" * 129]}, "/options/tags/0"),
        ({"tags": [1]}, "/options/tags/0"),
    ],
)
def test_a_value_that_is_wrong_inside_is_refused_at_its_place(raw: dict[str, Any], pointer: str) -> None:
    assert [found for found, _ in errors(raw)] == [pointer]


def test_all_mistakes_are_told_at_once() -> None:
    found = errors({"priority": 1.5, "atempts": 3, "delay": -1, "repeat": {}, "parent": {}})

    assert {pointer for pointer, _ in found} == {
        "/options/priority",
        "/options/atempts",
        "/options/delay",
        "/options/repeat",
        "/options/parent",
    }


def test_a_misspelt_option_is_an_unknown_field() -> None:
    assert errors({"atempts": 3}) == [("/options/atempts", "unknown-field")]


def test_python_s_names_are_not_json_s() -> None:
    assert errors({"job_id": "a"}) == [("/options/job_id", "unknown-field")]


@pytest.mark.parametrize("option", ["deduplication", "limits", "parent", "children"])
def test_options_of_a_later_version_say_so(option: str) -> None:
    assert errors({option: {}}) == [(f"/options/{option}", "reserved-option")]


@pytest.mark.parametrize("option", ["repeat", "timestamp", "sizeLimit", "keepLogs", "telemetry", "debounce"])
def test_options_of_bullmq_without_meaning_here_say_what_to_do(option: str) -> None:
    with pytest.raises(InvalidInput, match=r"use|operator|clock|keeps|deduplication|header"):
        parse_options({option: 1})


@pytest.mark.parametrize("raw", [[], "x", 1, True])
def test_options_are_an_object(raw: object) -> None:
    assert errors(raw) == [("/options", "invalid-type")]


def test_delay_and_run_at_together_are_refused() -> None:
    assert errors({"delay": 1, "runAt": "2030-01-01T00:00:00Z"}) == [("/options", "value-error")]


def test_pointers_begin_where_the_options_stand() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_options({"priority": -1}, "/jobs/3/options")

    assert refused.value.errors[0].pointer == "/jobs/3/options/priority"


def test_a_start_time_is_rounded_up_to_the_ms() -> None:
    def run_at_ms(text: str) -> int | None:
        return parse_options({"runAt": text}).run_at_ms()

    assert run_at_ms("1970-01-01T00:00:01Z") == 1000
    assert run_at_ms("1970-01-01T00:00:01.0000001Z") == 1000  # below a µs, which nobody measures
    assert run_at_ms("1970-01-01T00:00:01.000001Z") == 1001
    assert run_at_ms("1970-01-01T01:00:01+01:00") == 1000
    assert run_at_ms("1969-12-31T23:59:59.999Z") == -1
    assert JobOptions().run_at_ms() is None
    assert run_at_ms("0001-01-01T00:00:00+14:00") == -62_135_647_200_000
    assert run_at_ms("9999-12-31T23:59:59.999999-14:00") == 253_402_351_200_000


def test_a_start_time_needs_its_zone() -> None:
    [(pointer, _)] = errors({"runAt": "2030-01-01T00:00:00"})

    assert pointer == "/options/runAt"


def test_due_times_end_where_the_store_cannot_count_them_any_more() -> None:
    check_run_at(LATEST_MS - 1, "/runAt")
    check_run_at(0, "/runAt")
    for beyond in (LATEST_MS, -1):
        with pytest.raises(InvalidInput, match="before 2100"):
            check_run_at(beyond, "/runAt")
    assert datetime.fromtimestamp(LATEST_MS / 1000, UTC) == datetime(2100, 1, 1, tzinfo=UTC)


def test_own_options_win_over_those_of_the_type() -> None:
    own = parse_options({"attempts": 2, "tags": ["own"]})
    defaults = parse_options({"attempts": 9, "timeout": 1000, "tags": ["type"]})

    assert own.merged(defaults).to_dict() == {"attempts": 2, "timeout": 1000, "tags": ["own"]}


def test_an_own_start_time_replaces_that_of_the_type_whichever_way_it_is_said() -> None:
    own = JobOptions(run_at=datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=2))))

    assert own.merged(parse_options({"delay": 500, "attempts": 2})).to_dict() == {
        "runAt": "2030-01-01T00:00:00+02:00",
        "attempts": 2,
    }


def test_null_asks_for_nothing() -> None:
    own = parse_options({"attempts": None, "delay": None})

    assert own.merged(parse_options({"attempts": 3, "delay": 5})).to_dict() == {"attempts": 3, "delay": 5}


def test_without_defaults_nothing_is_merged() -> None:
    own = parse_options({"attempts": 2})

    assert own.merged(JobOptions()) is own


def test_zero_false_and_empty_are_wishes_too() -> None:
    own = parse_options({"priority": 0, "lifo": False, "removeOnComplete": False, "tags": []})
    defaults = parse_options({"priority": 9, "lifo": True, "removeOnComplete": True, "tags": ["x"]})

    assert own.merged(defaults) == own
