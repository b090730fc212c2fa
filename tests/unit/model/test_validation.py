"""From pydantic's errors to ours."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backroom.model.validation import CamelModel, field_errors, pointer


class Inner(CamelModel):
    some_number: int


class Outer(CamelModel):
    the_inner: Inner
    choices: tuple[int | Inner, ...] = ()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [((), ""), (("a", 0, "b"), "/a/0/b"), (("a/b", "c~d", ""), "/a~1b/c~0d/")],
)
def test_a_pointer_escapes_what_rfc_6901_escapes(parts: tuple[str | int, ...], expected: str) -> None:
    assert pointer(parts) == expected


def found(raw: dict[str, Any], **options: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(ValidationError) as refused:
        Outer.model_validate(raw)
    return [tuple(error) for error in field_errors(refused.value, **options)]


def test_a_missing_field_is_required() -> None:
    assert found({}) == [("/theInner", "required", "is required")]
    assert found({"theInner": {}}) == [("/theInner/someNumber", "required", "is required")]


def test_a_field_too_much_is_unknown() -> None:
    assert found({"theInner": {"someNumber": 1, "x": 2}}) == [("/theInner/x", "unknown-field", "is not a known field")]


def test_a_wrong_value_says_what_it_should_be() -> None:
    [(place, code, message)] = found({"theInner": {"someNumber": "x"}}, prefix="/jobs/0")

    assert (place, code) == ("/jobs/0/theInner/someNumber", "int-parsing")
    assert "integer" in message


def test_branches_of_unions_are_not_part_of_the_place() -> None:
    errors = found({"theInner": {"someNumber": 1}, "choices": [{"someNumber": "x"}]}, branches={"int", "Inner"})

    assert {place for place, _, _ in errors} == {"/choices/0", "/choices/0/someNumber"}
