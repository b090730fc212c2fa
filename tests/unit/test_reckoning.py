"""What a soak would say of broken promises: nothing is proved by a count that finds none."""

from __future__ import annotations

from backroom.store.events import Event
from benchmarks.reckoning import Accepted, Reckoning


def told(*rows: tuple[int, str, str]) -> list[Event]:
    """Events of the queue ``q``: ms, job, type."""
    return [Event(f"{at}-0", kind, job_id, "q", "soak", at) for at, job_id, kind in rows]


def test_a_second_end_is_counted_and_another_job_s_is_not() -> None:
    events = told(
        (1, "a", "completed"), (2, "a", "failed"), (3, "b", "completed"), (4, "x", "failed"), (5, "x", "failed")
    )
    assert Reckoning(events, {"a": Accepted("q"), "b": Accepted("q")}).ended_twice() == 1


def test_the_first_start_counts_whatever_comes_later() -> None:
    accepted = {job_id: Accepted("q", due_ms=100) for job_id in "abc"}
    events = told((99, "a", "active"), (150, "a", "active"), (100, "b", "active"))
    assert Reckoning(events, accepted).started_early() == 1


def test_jobs_that_are_ready_late() -> None:
    accepted = {"a": Accepted("q", due_ms=100), "b": Accepted("q", due_ms=100), "c": Accepted("q")}
    events = told((100, "a", "waiting"), (1100, "b", "waiting"), (9999, "c", "waiting"), (9999, "a", "waiting"))
    assert Reckoning(events, accepted).ready_late() == (1, 1000)
    assert Reckoning([], accepted).ready_late() == (0, 0)


def test_jobs_at_once() -> None:
    events = told(
        (1, "a", "active"), (2, "a", "stalled"), (3, "b", "active"), (4, "b", "completed"), (5, "a", "active"),
        (6, "a", "waiting"), (7, "c", "active"), (8, "a", "active"), (9, "c", "failed"),
    )  # fmt: skip
    reckoning = Reckoning(events, {})
    assert reckoning.most_at_once("q") == 2
    assert reckoning.most_at_once("other") == 0


def test_starts_in_a_window_are_without_those_given_back() -> None:
    events = told(
        (0, "a", "active"), (10, "b", "active"), (20, "b", "waiting"), (30, "c", "active"), (40, "c", "stalled"),
        (40, "c", "waiting"), (100, "b", "active"), (199, "c", "active"), (199, "d", "active"), (200, "e", "active"),
    )  # fmt: skip
    assert Reckoning(events, {}).most_in_a_window("q", 100) == 3
    assert Reckoning(events[:6], {}).most_in_a_window("q", 100) == 2
