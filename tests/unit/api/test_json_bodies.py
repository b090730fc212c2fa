"""The fast reader of bodies never reads what the careful one reads otherwise, or refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask, request
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backroom.model.errors import InvalidInput
from services.api.http import requests
from services.api.http.problems import Problem

numbers = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats().map(json.dumps),
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
)
text = st.text(st.characters() | st.sampled_from('":,{}[]\\ \t\n\ud800\udc00'), max_size=8)
strings = st.one_of(
    text.map(json.dumps),
    text.map(lambda value: json.dumps(value, ensure_ascii=False)),
    text.map(lambda value: f'"{value}"'),
    st.sampled_from(['"a"', '"a b"', '"\\u0061"', '":"', '"\\":"', '"\\\\"', '"\\/"', '"\\ud83d\\ude00"', '"\\ude00"']),
)
white = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n", "\x0b", "\ufeff"])


def around(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(white, parts, white).map("".join)


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(around(strings), around(inner)).map(":".join)
    return st.one_of(
        st.lists(around(inner), max_size=4).map(lambda items: f"[{','.join(items)}]"),
        st.lists(pair, max_size=4).map(lambda items: f"{{{','.join(items)}}}"),
    )


bodies = around(
    st.recursive(
        st.one_of(st.sampled_from(["null", "true", "false", "nul", "NaN", "-Infinity"]), numbers, strings),
        containers,
        max_leaves=12,
    )
).map(lambda body: body.encode("utf-8", "surrogatepass"))


def with_care(body: bytes) -> Any:
    try:
        return requests._with_care(body)
    except (Problem, InvalidInput):
        return Problem


@given(bodies)
@settings(max_examples=1500, deadline=None)
@example(b'{"a":1,"a":1}')
@example(b'{"a" :1,"a":2}')
@example(b'{"a":1,"a":"\\u0022:"}')
@example(b'{"a":1,"b":{"c":1 , "c":1}}')
@example(b'{"a b":1,"ab":2}')
@example(b"[18446744073709551615,18446744073709551616,-9223372036854775809]")
@example(b"[-0,-0.0,1e400,1E5,1e16,0.1,5e-324]")
@example(b"0.1000000000000000055511151231257827")
@example(b'"\\ud800"')
@example(b"\xef\xbb\xbf{}")
@example(b'"\xed\xa0\x80"')
@example(b'"a\tb"')
def test_what_is_read_fast_is_what_is_read_with_care(body: bytes) -> None:
    fast = requests._plain(body)
    if fast is not None:
        assert repr(fast) == repr(with_care(body))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    )
)
@settings(deadline=None)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
def test_what_clients_usually_write_is_read_fast(separators: tuple[str, str], value: object) -> None:
    body = json.dumps(value, separators=separators, ensure_ascii=False).encode()

    assert requests._plain(body) == value


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a":1,"a":1}', "The key 'a' stands twice in one object."),
        (b'{"a":[{"b":1,"c":2,"b":3}]}', "The key 'b' stands twice in one object."),
        (b'{"a":NaN}', "NaN is not JSON; use null or text."),
        (b"[" + b"9" * 5000 + b"]", "a number that is too long"),
        (b'["\xff"]', "is not UTF-8: invalid start byte at byte 2"),
        (b'{"a":1,}', "is not JSON: .* [(]line 1, column 8[)]"),
    ],
)
def test_what_is_wrong_is_told_as_ever(body: bytes, said: str) -> None:
    with (
        Flask("test").test_request_context(method="POST", data=body, content_type="application/json"),
        pytest.raises(Problem, match=said),
    ):
        requests.read_json(request, limit=10_000)
