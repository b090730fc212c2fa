"""Ids and names."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backroom.model.errors import InvalidInput
from backroom.model.names import NAME_PATTERN, check_name, is_name, new_id


@pytest.mark.parametrize("name", ["a", "0", "12", "send-email", "a.b_c~d-E", "...", "x" * 128])
def test_a_name_is_returned(name: str) -> None:
    assert is_name(name)
    assert check_name(name, "/name") == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b", "a:b", "a/b", "a|b", "é", "a\n", "x" * 129, None, 1, b"a", ["a"]]
)
def test_what_is_no_name_is_refused_at_its_place(name: object) -> None:
    assert not is_name(name)
    with pytest.raises(InvalidInput) as refused:
        check_name(name, "/queue")
    assert refused.value.errors[0][:2] == ("/queue", "invalid-name")


@given(st.text(max_size=130))
def test_the_published_pattern_says_the_same(text: str) -> None:
    assert is_name(text) == bool(re.search(NAME_PATTERN, text) and "\n" not in text)


def test_a_new_id_is_a_uuid_of_version_7_and_a_name() -> None:
    found = UUID(new_id())

    assert (found.version, found.variant) == (7, "specified in RFC 4122")
    assert is_name(str(found))


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))
def test_an_id_holds_its_time_and_its_randomness(milliseconds: int, randomness: int) -> None:
    value = UUID(new_id(milliseconds=milliseconds, randomness=randomness)).int

    assert value >> 80 == milliseconds
    assert ((value >> 64 & 0xFFF) << 62) | (value & (2**62 - 1)) == randomness


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, unique=True))
def test_later_ids_sort_later(moments: list[int]) -> None:
    ids = [new_id(milliseconds=moment) for moment in sorted(moments)]

    assert ids == sorted(ids)


def test_ids_of_the_same_ms_differ() -> None:
    assert len({new_id(milliseconds=1) for _ in range(1000)}) == 1000
