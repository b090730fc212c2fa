"""The error tree, and the exceptions that jobs raise."""

from __future__ import annotations

import pickle

import pytest

import backroom.model.errors as tree
from backroom.model.control import RateLimited, RetryAfter, Unrecoverable
from backroom.model.errors import (
    BackroomError,
    FieldError,
    InvalidInput,
    NotFound,
    QueueFull,
    StoreFull,
    StoreUnavailable,
    TooLarge,
    WrongState,
)


def test_every_error_grows_from_one_root() -> None:
    kinds = [getattr(tree, name) for name in tree.__all__]

    assert all(issubclass(kind, BackroomError) for kind in kinds if kind is not FieldError)
    assert issubclass(StoreFull, StoreUnavailable)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InvalidInput.at("/options/priority", "range", "is too high"), "/options/priority: is too high"),
        (InvalidInput([FieldError("", "a", "b"), FieldError("/c", "d", "e")]), "/: b; /c: e"),
        (NotFound("job", "x"), "There is no job 'x'."),
        (WrongState("x", "active", "removed"), "Job 'x' is active: it cannot be removed."),
        (TooLarge("data", 10, 12), "The data is too large: 12 bytes; the limit is 10 bytes."),
        (TooLarge("body", 10), "The body is too large: the limit is 10 bytes."),
        (QueueFull("q", 5), "The queue 'q' is full: it holds its limit of 5 jobs. Try again later."),
    ],
)
def test_errors_say_what_is_wrong_and_what_to_do(error: BackroomError, message: str) -> None:
    assert str(error) == message


@pytest.mark.parametrize("kind", [RetryAfter, RateLimited])
def test_coming_back_later_says_when(kind: type[RetryAfter]) -> None:
    assert kind(1.5).seconds == 1.5
    assert str(kind(1.5)) == "again in 1.5 s"
    assert str(kind(0, "the other side is busy")) == "the other side is busy"


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 366 * 86_400 + 1])
def test_coming_back_at_an_impossible_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be between"):
        RetryAfter(seconds)


@pytest.mark.parametrize("error", [RetryAfter(2, "busy"), RateLimited(3), Unrecoverable("never")])
def test_they_travel_between_processes(error: Exception) -> None:
    found = pickle.loads(pickle.dumps(error))

    assert type(found) is type(error)
    assert (found.args, str(found)) == (error.args, str(error))
