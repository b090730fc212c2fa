"""Ids and names."""

from __future__ import annotations

import functools
import operator
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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


@given(st.integers(0, 2**48 - 1), st.text("0123456789abcdef", min_size=19, max_size=64))
def test_an_id_holds_its_time_and_its_randomness(milliseconds: int, digits: str) -> None:
    found = UUID(new_id(milliseconds=milliseconds, digits=digits))

    assert (found.version, found.variant) == (7, "specified in RFC 4122")
    assert found.int >> 80 == milliseconds
    assert f"{found.int >> 64 & 0xFFF:03x}" == digits[:3]
    assert found.int >> 60 & 0b11 == int(digits[3], 16) & 0b11
    assert f"{found.int & (2**60 - 1):015x}" == digits[4:19]


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, unique=True))
def test_later_ids_sort_later(moments: list[int]) -> None:
    ids = [new_id(milliseconds=moment) for moment in sorted(moments)]

    assert ids == sorted(ids)


def test_ids_of_the_same_ms_differ() -> None:
    assert len({new_id(milliseconds=1) for _ in range(1000)}) == 1000


def test_every_bit_of_an_id_but_its_version_is_random() -> None:
    ids = [UUID(new_id(milliseconds=0)).int for _ in range(1000)]
    ones, zeros = functools.reduce(operator.or_, ids), ~functools.reduce(operator.and_, ids)

    assert ones & zeros & (2**128 - 1) == (0xFFF << 64) | (2**62 - 1)


FORKING = """
import os
from backroom.model.names import new_id
new_id()  # there are random digits left over now
child = os.fork()
ids = [new_id(milliseconds=1) for _ in range(64)]
if child:
    os.waitpid(child, 0)
print(*ids, flush=True)
"""


def test_a_forked_process_makes_ids_of_its_own() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60)

    assert len(set(ran.stdout.split())) == 128, ran.stderr


def test_threads_make_different_ids() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: [new_id(milliseconds=1) for _ in range(1000)], range(8)))

    assert len({each for ids in found for each in ids}) == 8000
