"""From pydantic's errors to ours."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field, ValidationError

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
    assert message == "must be a whole number"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"number": 0}, "must be 1 or more"),
        ({"number": 11}, "must be 10 or less"),
        ({"number": 1.5}, "must be a whole number"),
        ({"number": "1"}, "must be a whole number"),
        ({"text": ""}, "must have 1 or more characters"),
        ({"text": "long"}, "must have 3 characters at most"),
        ({"text": 5}, "must be text"),
        ({"flag": 1}, "must be true or false"),
        ({"several": []}, "must have 1 or more entries"),
        ({"several": [1, 2, 3]}, "must have 2 entries at most"),
        ({"several": 1}, "must be a list"),
        ({"one": "c"}, "must be 'a' or 'b'"),
        ({"inner": 5}, "must be an object"),
        ({"mapping": 5}, "must be an object"),
    ],
)
def test_sentences_are_in_jsons_words_and_name_no_class(value: dict[str, Any], message: str) -> None:
    class Wanted(CamelModel):
        model_config = ConfigDict(strict=True)

        number: Annotated[int, Field(ge=1, le=10)] = 1
        text: Annotated[str, Field(min_length=1, max_length=3)] = "x"
        flag: bool = False
        several: Annotated[list[int], Field(min_length=1, max_length=2)] | None = None
        one: Literal["a", "b"] = "a"
        inner: Inner | None = None
        mapping: dict[str, int] | None = None

    with pytest.raises(ValidationError) as refused:
        Wanted.model_validate(value)
    [error] = field_errors(refused.value)
    assert error.message == message


def test_branches_of_unions_are_not_part_of_the_place() -> None:
    errors = found({"theInner": {"someNumber": 1}, "choices": [{"someNumber": "x"}]}, branches={"int", "Inner"})

    assert {place for place, _, _ in errors} == {"/choices/0", "/choices/0/someNumber"}
