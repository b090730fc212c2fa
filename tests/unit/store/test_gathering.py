"""Calls of several threads that travel together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backroom.model.errors import QueueFull, StoreUnavailable
from backroom.store.gathering import Gathering
from tests.unit.store.hand import a_job

PATIENCE = 30.0


class Slow:
    """Doubles numbers; a call is under way until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, numbers):
        self.calls.append(list(numbers))
        self.begun.release()
        assert self.go_on.acquire(timeout=PATIENCE)
        return [ValueError(f"{number} is odd") if number % 2 else number * 2 for number in numbers]


def lying(gathering: Gathering, count: int) -> bool:
    return len(gathering._heap) == count


def ask_together(gathering, slow, pool, numbers):
    """Ask one, and the others while its call is under way."""
    first = pool.submit(gathering, numbers[0])
    assert slow.begun.acquire(timeout=PATIENCE)
    others = [pool.submit(gathering, number) for number in numbers[1:]]
    while not lying(gathering, len(others)):
        threading.Event().wait(0.001)
    return [first, *others]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_what_is_asked_during_a_call_goes_with_the_next(pool):
    slow = Slow()
    asked = ask_together(gathering := Gathering(slow), slow, pool, [2, 4, 6, 8])
    slow.go_on.release(2)
    assert [each.result(PATIENCE) for each in asked] == [4, 8, 12, 16]
    assert slow.calls[0] == [2]
    assert sorted(slow.calls[1]) == [4, 6, 8]
    assert lying(gathering, 0)


def test_a_call_takes_no_more_than_it_may(pool):
    slow = Slow()
    asked = ask_together(Gathering(slow, most=3), slow, pool, [2] * 8)
    slow.go_on.release(4)
    assert [each.result(PATIENCE) for each in asked] == [4] * 8
    assert [len(call) for call in slow.calls] == [1, 3, 3, 1]


def test_each_thread_gets_its_own_error(pool):
    slow = Slow()
    asked = ask_together(Gathering(slow), slow, pool, [2, 3, 4])
    slow.go_on.release(2)
    assert asked[0].result(PATIENCE) == 4
    assert str(asked[1].exception(PATIENCE)) == "3 is odd"
    assert asked[2].result(PATIENCE) == 8


def test_a_call_that_fails_fails_for_all_who_are_there_and_the_next_goes_on(pool):
    outcomes = [StoreUnavailable("gone"), None]
    slow = Slow()

    def ask(numbers):
        answers = slow(numbers)
        if error := outcomes.pop(0):
            raise error
        return answers

    gathering = Gathering(ask, most=2)
    asked = ask_together(gathering, slow, pool, [2, 4, 6, 8, 10])
    slow.go_on.release(2)
    for each in asked:
        with pytest.raises(StoreUnavailable, match="gone"):
            each.result(PATIENCE)
    assert slow.calls == [[2]]
    assert gathering(4) == 8


def test_nobody_waits_for_company():
    gathering = Gathering(lambda numbers: numbers)
    assert [gathering(number) for number in range(3)] == [0, 1, 2]


def test_the_main_thread_goes_alone_and_waits_for_nobody(pool):
    slow = Slow()
    gathering = Gathering(slow)
    asked = ask_together(gathering, slow, pool, [2, 4])
    slow.go_on.release(3)

    assert gathering(6) == 12

    assert [each.result(PATIENCE) for each in asked] == [4, 8]
    assert sorted(slow.calls) == [[2], [4], [6]]


def test_the_main_thread_gets_its_error_and_goes_on():
    gathering = Gathering(lambda numbers: [ValueError("no") if number % 2 else number for number in numbers])
    with pytest.raises(ValueError, match="no"):
        gathering(1)
    assert gathering(2) == 2


def test_many_threads_each_get_their_own_answer(pool):
    gathering = Gathering(lambda numbers: [number * 2 for number in numbers], most=5)
    assert list(pool.map(gathering, range(2000))) == [number * 2 for number in range(2000)]


def test_jobs_submitted_together_do_not_share_a_refusal(store):
    store.queues.set_limits("short", max_length=1)
    together = [a_job(queue="short"), a_job(queue="short"), a_job(), a_job(jobId="twice"), a_job(jobId="twice")]
    first, second, *others = store.submission._submit_each(together)
    assert first.id == together[0].id
    assert isinstance(second, QueueFull)
    assert [each.duplicate for each in others] == [False, False, True]
    counts = store.queues.get("default").counts
    assert counts["waiting"] == 2


def test_a_store_that_goes_while_jobs_are_submitted_one_by_one_is_waited_for_once(store, monkeypatch):
    store.queues.set_limits("short", max_length=1)
    jobs = [a_job(queue="short"), a_job(queue="short"), *(a_job() for _ in range(5))]
    submit, asked = store.submission._submit, []

    def going(wanted):
        asked.append(len(wanted))
        if len(asked) > 3:
            raise StoreUnavailable("gone")
        return submit(wanted)

    monkeypatch.setattr(store.submission, "_submit", going)
    first, second, *others = store.submission._submit_each(jobs)
    assert first.id == jobs[0].id
    assert isinstance(second, QueueFull)
    assert [str(each) for each in others] == ["gone"] * 5
    assert asked == [7, 1, 1, 1]


def test_many_threads_submit_each_job_once(store, pool):
    jobs = [a_job() for _ in range(500)]
    answers = list(pool.map(lambda job: store.submission.submit([job]), jobs))
    assert [answer[0].id for answer in answers] == [job.id for job in jobs]
    assert not any(answer[0].duplicate for answer in answers)
    assert store.queues.get("default").counts["waiting"] == 500


def test_threads_that_submit_one_id_store_one_job(store, pool):
    answers = list(pool.map(lambda _: store.submission.submit([a_job(jobId="one")])[0], range(50)))
    assert [answer.duplicate for answer in answers].count(False) == 1
    assert store.queues.get("default").counts["waiting"] == 1
