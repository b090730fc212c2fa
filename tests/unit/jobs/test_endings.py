from __future__ import annotations

import pytest

from backroom import Unrecoverable
from backroom.model.names import is_name
from services.worker.support.endings import follow_up_id, unrecoverable


def test_a_named_error_becomes_unrecoverable_and_keeps_its_words() -> None:
    with pytest.raises(Unrecoverable, match="no such thing") as ending, unrecoverable(KeyError, ValueError):
        raise ValueError("no such thing")
    assert isinstance(ending.value.__cause__, ValueError)


def test_another_error_passes() -> None:
    with pytest.raises(TypeError), unrecoverable(ValueError):
        raise TypeError


def test_a_follow_up_has_the_same_id_every_time() -> None:
    assert follow_up_id("abc", "email") == follow_up_id("abc", "email") == "abc.email"


def test_a_follow_up_of_a_long_id_has_a_valid_id_of_its_own() -> None:
    first, second = (follow_up_id("x" * 127 + last, "email") for last in "ab")
    assert is_name(first)
    assert first != second
