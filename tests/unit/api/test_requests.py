"""Reading requests: ids, traces, preferences, bodies."""

from typing import Any

import pytest
from werkzeug.datastructures import Headers
from werkzeug.test import create_environ
from werkzeug.wrappers import Request

from backroom.model.errors import InvalidInput, TooLarge
from services.api.http.problems import Problem
from services.api.http.requests import preferred_wait, read_json, request_id, traceparent

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _environ(headers: list[tuple[str, str]]) -> dict[str, Any]:
    return create_environ(headers=Headers(headers))


def read(body: bytes, *, limit: int = 1000, optional: bool = False, content_type: str = "application/json") -> object:
    environ = create_environ(method="POST", data=body, content_type=content_type)
    return read_json(Request(environ), limit=limit, optional=optional)


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (["wait=5"], 5),
        (["wait=0"], 0),
        (["wait=61"], 60),
        (["Wait = 7"], 7),
        (['wait="8"'], 8),
        (["respond-async, wait=9; x=1"], 9),
        (["respond-async", "wait=10"], 10),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait"], None),
        (["waiting=5"], None),
        ([], None),
    ],
)
def test_how_long_a_caller_is_ready_to_wait(prefer: list[str], seconds: int | None) -> None:
    assert preferred_wait(_environ([("Prefer", value) for value in prefer])) == seconds


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (TRACE, TRACE),
        (f" {TRACE} ", TRACE),
        (TRACE.upper(), None),
        (TRACE.replace("00-", "ff-", 1), None),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", None),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_only_a_valid_trace_is_taken(given: str, found: str | None) -> None:
    assert traceparent(_environ([("traceparent", given)])) == found


def test_a_request_id_is_taken_over_if_harmless_and_made_if_not() -> None:
    assert request_id(_environ([("X-Request-Id", "01J-a.b_c:d/e")])) == "01J-a.b_c:d/e"
    made = request_id(_environ([("X-Request-Id", "a\tb")]))
    assert len(made) == 32
    assert request_id(_environ([])) != request_id(_environ([]))


def test_numbers_are_kept_exactly() -> None:
    assert (
        repr(read(b"[1, 1.0, -0.0, 12345678901234567890123, 1e5]"))
        == "[1, 1.0, -0.0, 12345678901234567890123, 100000.0]"
    )


def test_a_body_that_may_be_left_out_is_an_empty_object() -> None:
    assert read(b"", optional=True, content_type="") == {}
    with pytest.raises(Problem, match="needs a JSON body"):
        read(b"")


def test_a_body_at_its_limit_is_read_and_one_above_is_not() -> None:
    assert read(b'"' + b"x" * 98 + b'"', limit=100) == "x" * 98
    with pytest.raises(TooLarge, match="101 bytes; the limit is 100 bytes"):
        read(b'"' + b"x" * 99 + b'"', limit=100)


def test_every_number_that_json_does_not_have_is_pointed_at() -> None:
    with pytest.raises(Problem) as failure:
        read(b'{"a": [NaN, {"b/c": -Infinity}], "d": Infinity, "e": 1}')
    assert sorted(error.pointer for error in failure.value.errors) == ["/a/0", "/a/1/b~1c", "/d"]


def test_whole_surrogate_pairs_are_text_and_halves_are_not() -> None:
    assert read(rb'"\ud83d\ude00"') == "😀"
    for half in (rb'"\ud83d"', rb'{"\udE00": 1}'):
        with pytest.raises(Problem, match="surrogate"):
            read(half)


def test_nesting_without_end_is_refused_and_not_followed() -> None:
    with pytest.raises(InvalidInput, match="too deeply"):
        read(b"[" * 100_000, limit=1_000_000)
