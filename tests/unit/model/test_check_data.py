"""Checking data against the JSON Schema of a job type."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backroom.model.errors import InvalidInput
from backroom.model.job_types import JobType, check_data

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "userId": {"type": "string", "minLength": 1},
            "size": {"type": "integer", "minimum": 1},
            "when": {"type": "string", "format": "date"},
            "files": {"type": "array", "items": {"type": "object", "required": ["url"]}},
        },
        "required": ["userId", "size"],
        "additionalProperties": False,
    }
)
GOOD: dict[str, Any] = {"userId": "u1", "size": 3, "when": "2030-01-31", "files": [{"url": "x"}]}


def errors(data: object, schema: str = SCHEMA) -> set[tuple[str, str]]:
    with pytest.raises(InvalidInput) as refused:
        check_data(schema, data)
    return {(error.pointer, error.code) for error in refused.value.errors}


def test_good_data_passes() -> None:
    check_data(SCHEMA, GOOD)


@pytest.mark.parametrize("schema", ["", "{}", "true"])
def test_a_schema_that_says_nothing_accepts_anything(schema: str) -> None:
    check_data(schema, [1, None, "x"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"size": 0}, {("/data/size", "minimum")}),
        ({"size": "3"}, {("/data/size", "type")}),
        ({"userId": ""}, {("/data/userId", "minLength")}),
        ({"when": "yesterday"}, {("/data/when", "format")}),
        ({"files": [{"url": "x"}, {}]}, {("/data/files/1/url", "required")}),
        ({"extra": 1}, {("/data/extra", "additionalProperties")}),
        ({"a/b": 1}, {("/data/a~1b", "additionalProperties")}),
        ({"size": 0, "extra": 1, "userId": ""}, {
            ("/data/size", "minimum"), ("/data/extra", "additionalProperties"), ("/data/userId", "minLength"),
        }),
    ],
)  # fmt: skip
def test_each_mistake_is_told_at_its_place(change: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    assert errors({**GOOD, **change}) == expected


def test_a_missing_field_is_told_at_the_field() -> None:
    assert errors({}) == {("/data/userId", "required"), ("/data/size", "required")}


def test_data_of_another_type_is_told_at_the_data() -> None:
    assert errors([]) == {("/data", "type")}


def test_a_pointer_begins_where_the_data_stands() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_data(SCHEMA, {**GOOD, "size": 0}, "/jobs/2/data")

    assert refused.value.errors[0].pointer == "/jobs/2/data/size"


def test_a_job_type_speaks_json() -> None:
    job_type = JobType(name="resize", queue="images", description="Makes it smaller.", defaults={"attempts": 3})

    assert job_type.to_dict() == {
        "name": "resize",
        "queue": "images",
        "description": "Makes it smaller.",
        "schema": {},
        "defaults": {"attempts": 3},
        "workers": 0,
    }
