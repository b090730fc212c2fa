"""Errors of jobs as people read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backroom.engine.errors import MAX_MESSAGE, MAX_TRACEBACK, clean, error_text, plain_error


def fail_with(error: BaseException) -> None:
    raise error


def record_of(error: BaseException) -> dict[str, Any]:
    with pytest.raises(type(error)) as raised:
        fail_with(error)
    found: dict[str, Any] = json.loads(error_text(raised.value, attempt=2))
    return found


class Odd(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


def test_an_error_says_what_it_is_where_it_was_and_when() -> None:
    record = record_of(KeyError("key"))

    assert (record["type"], record["message"], record["attempt"]) == ("KeyError", "'key'", 2)
    assert (record["module"], record["args"]) == ("builtins", ["key"])
    assert "in fail_with" in record["traceback"]
    assert record["at"] > 1_500_000_000_000


def test_its_causes_are_in_the_traceback() -> None:
    effect = ValueError("the effect")
    effect.__cause__ = KeyError("the cause")

    trace = record_of(effect)["traceback"]

    assert "the cause" in trace
    assert "the effect" in trace


def test_long_texts_are_cut_in_the_middle() -> None:
    record = record_of(ValueError("a" * 50_000 + "é" * 50_000 + "z"))

    assert len(record["message"].encode()) <= MAX_MESSAGE
    assert len(record["traceback"].encode()) <= MAX_TRACEBACK
    for text in (record["message"], record["traceback"]):
        assert "... (cut) ..." in text
    assert record["message"].startswith("aaa")
    assert record["message"].endswith("z")
    assert "args" not in record


def test_a_deep_recursion_can_be_told() -> None:
    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as raised:
        deeper()

    record = json.loads(error_text(raised.value, attempt=1))
    assert record["type"] == "RecursionError"


@pytest.mark.parametrize(
    "error",
    [ValueError("file \udcff"), ValueError(object()), ValueError(float("nan")), Odd("odd"), ValueError(b"\xff")],
)
def test_every_error_becomes_json_that_every_parser_takes(error: BaseException) -> None:
    record = record_of(error)

    json.dumps(record, ensure_ascii=False).encode()


def test_an_error_that_cannot_show_itself_is_shown_by_its_type() -> None:
    record = record_of(Odd("odd"))

    assert record["type"] == "Odd"
    assert "__str__ fails" in record["message"]


def test_clean_leaves_proper_text_alone() -> None:
    assert clean("plain") == "plain"
    assert clean("grüße 🙂") == "grüße 🙂"
    assert clean("\udcff?") == "??"


def test_an_error_outside_the_code_of_a_job_has_no_traceback() -> None:
    record = json.loads(plain_error("TimeLimitExceeded", "too long", attempt=3))

    assert (record["type"], record["message"], record["attempt"]) == ("TimeLimitExceeded", "too long", 3)
    assert record["traceback"] is None
