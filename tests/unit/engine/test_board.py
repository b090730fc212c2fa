"""The board on which pool slots say how far they are, and the protocol of taking jobs back."""

from __future__ import annotations

import os

import pytest

from backroom.engine.board import NOT_BEGUN, PLACE_BYTES, PLACES, Board


@pytest.fixture(scope="module")
def board() -> Board:
    return Board()


def test_a_new_place_says_that_nothing_has_begun(board: Board) -> None:
    place = board.take()

    assert board.current(place) == NOT_BEGUN
    assert not board.runs(place, 0)
    assert list(board.records(place)) == []


def test_a_place_is_reset_when_it_is_taken_again(board: Board) -> None:
    place = board.take()
    board.begin(place, 3)
    board.record(place, b"done")
    board.ask(place, 3, 1)
    board.stop(place)
    board.give_back(place)

    assert board.take() == place
    assert board.current(place) == NOT_BEGUN
    assert board.wish(place, 3) == 0
    assert list(board.records(place)) == []
    assert board.begin(place, 0)


def test_jobs_begin_one_after_the_other(board: Board) -> None:
    place = board.take()

    for index in range(3):
        assert board.begin(place, index)
        assert board.current(place) == index
        assert board.runs(place, index)
        assert board.record(place, b"%d" % index)
        assert not board.runs(place, index)


def test_no_job_begins_once_the_message_was_stopped(board: Board) -> None:
    place = board.take()
    assert board.begin(place, 0)

    board.stop(place)

    assert board.current(place) == 0  # this one goes on
    assert not board.begin(place, 1)


def test_a_wish_is_for_one_job_alone(board: Board) -> None:
    place = board.take()

    board.ask(place, 2, 4)

    assert [board.wish(place, index) for index in range(4)] == [0, 0, 4, 0]
    board.ask(place, 2, 1)
    assert board.wish(place, 2) == 1


def test_records_are_kept_in_order_whatever_their_length(board: Board) -> None:
    place = board.take()
    records = [bytes([length % 251]) * length for length in (0, 1, 2, 3, 4, 5, 100, 1001)]

    for record in records:
        assert board.record(place, record)

    assert list(board.records(place)) == records


def test_what_does_not_fit_is_not_recorded_and_harms_nothing(board: Board) -> None:
    first, second = board.take(), board.take()
    assert board.record(second, b"mine")
    assert board.record(first, b"kept")

    assert not board.record(first, b"x" * PLACE_BYTES)

    while board.record(first, b"x" * 1000):
        pass
    assert next(iter(board.records(first))) == b"kept"
    assert list(board.records(second)) == [b"mine"]


def test_places_come_to_an_end() -> None:
    board = Board()
    taken = {board.take() for _ in range(PLACES)}

    assert len(taken) == PLACES
    assert board.full
    with pytest.raises(IndexError):
        board.take()
    board.give_back(7)
    assert not board.full


def test_what_a_child_writes_outlives_it() -> None:
    board = Board()
    place = board.take()
    if (child := os.fork()) == 0:
        board.begin(place, 0)
        board.record(place, b"from the child")
        board.begin(place, 1)
        os._exit(0)
    os.waitpid(child, 0)

    assert list(board.records(place)) == [b"from the child"]
    assert board.current(place) == 1
    assert board.runs(place, 1)
