"""New jobs are checked before anybody stores them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backroom.model.errors import InvalidInput, TooLarge
from backroom.model.job import NewJob, compact_json, format_time, new_job
from backroom.model.options import parse_options


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
#: Without floats, of which each has several texts.
json_texts = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def a_job(data: object = None, **fields: Any) -> NewJob:
    return new_job(**{"name": "task", "data": data, **fields})


def refusal(data: object = None, **fields: Any) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as refused:
        a_job(data, **fields)
    [error] = refused.value.errors
    return error.pointer, error.code


@given(json_values)
def test_any_json_value_is_data_and_comes_back_the_same(value: object) -> None:
    assert json.loads(a_job(value).data) == value


def test_data_is_kept_as_compact_json() -> None:
    assert a_job({"a": [1, 2.5, None], "é": "\u2028"}).data == '{"a":[1,2.5,null],"é":"\u2028"}'


def test_a_job_has_an_id_of_its_own_unless_one_is_given() -> None:
    assert a_job().id != a_job().id
    assert a_job(options=parse_options({"jobId": "mine"})).id == "mine"


def test_a_job_goes_to_the_default_queue_unless_one_is_named() -> None:
    assert a_job().queue == "default"
    assert a_job(queue="images").queue == "images"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (float("nan"), "invalid-number"),
        ({"a": [float("inf")]}, "invalid-number"),
        ([10**5000], "invalid-number"),
        ("\ud800", "invalid-unicode"),
        ({"\udfff": 1}, "invalid-unicode"),
        ({"a": {1, 2}}, "invalid-json"),
        (b"bytes", "invalid-json"),
        ({(1, 2): 3}, "invalid-json"),
        ({"a": UUID(int=7)}, "invalid-json"),
        ([datetime(2030, 1, 2, tzinfo=UTC)], "invalid-json"),
        (Colour.RED, "invalid-json"),
        ({"a": Point(1, 2)}, "invalid-json"),
    ],
)
def test_data_that_is_no_json_is_refused(data: object, code: str) -> None:
    assert refusal(data) == ("/data", code)


def nested(levels: int) -> object:
    value: object = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_data_may_be_nested_as_deep_as_the_limit() -> None:
    assert a_job(nested(64)).data
    assert refusal(nested(65)) == ("/data", "too-deep")
    assert refusal(nested(3), max_depth=2) == ("/data", "too-deep")


def test_data_nested_beyond_all_measure_is_refused_without_a_stack_overflow() -> None:
    assert refusal(nested(200_000)) == ("/data", "too-deep")


def test_wide_data_is_not_deep() -> None:
    assert a_job([[1], [2], {"a": [3]}] * 1000).data


def test_the_size_of_data_counts_bytes() -> None:
    assert a_job("éé", max_data_bytes=6).data == '"éé"'
    with pytest.raises(TooLarge) as refused:
        a_job("ééé", max_data_bytes=7)
    assert (refused.value.limit, refused.value.size) == (7, 8)
    assert "/data" in str(refused.value)


@pytest.mark.parametrize(("field", "value"), [("name", "a b"), ("name", ""), ("queue", "x:y"), ("queue", "..")])
def test_odd_names_are_refused_at_their_place(field: str, value: str) -> None:
    assert refusal(**{field: value}, pointer="/jobs/1") == (f"/jobs/1/{field}", "invalid-name")


def test_a_start_time_that_the_store_cannot_keep_is_refused() -> None:
    options = parse_options({"runAt": "2100-01-01T00:00:00Z"})

    assert refusal(options=options) == ("/options/runAt", "out-of-range")


@pytest.mark.parametrize(
    ("data", "user_id"),
    [
        ({"userId": "u1"}, "u1"),
        ({"userId": "x" * 256}, "x" * 256),
        ({"userId": "x" * 257}, None),
        ({"userId": ""}, None),
        ({"userId": 1}, None),
        ({"userid": "u1"}, None),
        (["userId"], None),
    ],
)
def test_jobs_are_listed_by_a_user_id_that_is_text(data: object, user_id: str | None) -> None:
    assert a_job(data).user_id == user_id


@given(json_texts)
def test_json_is_as_compact_as_can_be(value: object) -> None:
    assert compact_json(value) == json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def test_what_the_standard_library_takes_for_json_is_taken() -> None:
    assert compact_json({"a": (1, 2), 3: None, "n": 2**64}) == '{"a":[1,2],"3":null,"n":18446744073709551616}'


def test_numbers_beyond_a_double_survive() -> None:
    assert compact_json({"n": 12345678901234567890123}) == '{"n":12345678901234567890123}'


def test_times_are_rfc_3339_in_utc_with_ms() -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, 678_900, tzinfo=timezone(timedelta(hours=2)))

    assert format_time(moment) == "2030-01-02T01:04:05.678Z"
    assert format_time(datetime(2030, 1, 2, tzinfo=UTC)) == "2030-01-02T00:00:00.000Z"
    assert format_time(None) is None
