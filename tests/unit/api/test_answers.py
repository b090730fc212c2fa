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
    status, headers, chunks = Answer(200, RawJson(b'{"a":  1}')).wsgi({})
    assert (status, b"".join(chunks)) == ("200 OK", b'{"a":  1}')
    assert (dict(headers)["Content-Type"], dict(headers)["Content-Length"]) == ("application/json", "9")


def test_an_answer_without_a_body_has_no_type() -> None:
    status, headers, chunks = Answer(204).wsgi({})
    assert (status, headers, list(chunks)) == ("204 No Content", [("Cache-Control", "no-store")], [])


def test_null_is_a_body() -> None:
    assert list(Answer(200).wsgi({})[2]) == [b"null"]


def test_who_asks_for_the_head_gets_the_headers_of_the_whole() -> None:
    whole = Answer(200, {"a": 1}).wsgi({"X-More": "1"})
    assert Answer(200, {"a": 1}).wsgi({"X-More": "1"}, is_head=True) == (whole[0], whole[1], ())


def test_nothing_is_cached_unless_the_operation_says_so() -> None:
    assert ("Cache-Control", "no-store") in Answer(200, 1).wsgi({})[1]
    assert ("Cache-Control", "no-cache") in Answer(200, 1, headers={"Cache-Control": "no-cache"}).wsgi({})[1]
