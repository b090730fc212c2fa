"""Answers: JSON with the numbers it was given, and nothing cached unless it is said."""

import pytest

from services.api.http.answers import Answer, RawJson, to_json


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True], "é": "😀"}, '{"a":[1,2.5,null,true],"é":"😀"}'),
        ([2**64, -(2**63), 2**63], "[18446744073709551616,-9223372036854775808,9223372036854775808]"),
        ("\ud800", '"\\ud800"'),
    ],
)
def test_any_value_becomes_json(value: object, text: str) -> None:
    assert to_json(value) == text.encode()


def test_a_stored_result_is_sent_as_it_is() -> None:
    response = Answer(200, RawJson(b'{"a":  1}')).response()
    assert (response.get_data(), response.mimetype) == (b'{"a":  1}', "application/json")


def test_an_answer_without_a_body_has_no_type() -> None:
    response = Answer(204).response()
    assert (response.get_data(), response.headers.get("Content-Type")) == (b"", None)


def test_null_is_a_body() -> None:
    assert Answer(200).response().get_data() == b"null"


def test_nothing_is_cached_unless_the_operation_says_so() -> None:
    assert Answer(200, 1).response().headers["Cache-Control"] == "no-store"
    assert Answer(200, 1, headers={"Cache-Control": "no-cache"}).response().headers["Cache-Control"] == "no-cache"
