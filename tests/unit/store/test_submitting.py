"""Putting jobs on the board."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.errors import NotFound, QueueFull
from backroom.model.states import State
from tests.unit.store.hand import LONG, Worker, a_job, a_job_that_is, counts, events, order, state, submit

if TYPE_CHECKING:
    from backroom.store import Store


def test_a_submitted_job_waits_and_can_be_read_back(store: Store) -> None:
    job_id = submit(store, "resize", queue="images", data={"userId": "u1", "größe": 3}, attempts=4, tags=["x", "y"])

    job = store.inspection.get(job_id)

    assert (job.name, job.queue, job.state) == ("resize", "images", State.WAITING)
    assert job.data == {"userId": "u1", "größe": 3}
    assert (job.attempts, job.attempts_made, job.stalled) == (4, 0, 0)
    assert job.tags == ("x", "y")
    assert job.options == {"attempts": 4, "tags": ["x", "y"]}
    assert job.started_at is job.finished_at is job.run_at is None


def test_a_submission_says_added_and_waiting_once_each(store: Store) -> None:
    job_id = submit(store)

    assert [(event.type, event.job_id) for event in store.events.read("0-0")] == [
        ("added", job_id),
        ("waiting", job_id),
    ]


def test_a_delayed_job_says_added_and_delayed(store: Store) -> None:
    submit(store, delay=LONG)

    assert events(store) == ["added", "delayed"]
    assert counts(store) == {"delayed": 1}


def test_no_delay_is_no_delay(store: Store) -> None:
    assert state(store, submit(store, delay=0)) is State.WAITING


def test_a_start_time_in_the_past_means_now(store: Store) -> None:
    assert state(store, submit(store, runAt="2001-01-01T00:00:00Z")) is State.WAITING


def test_data_travels_to_the_worker_byte_for_byte(store: Store, worker: Worker) -> None:
    submit(store, data={"empty": [], "none": {}, "big": 12345678901234567890, "float": 0.1, "text": 'é\u2028"\\'})

    claimed = worker.claim_one()

    assert claimed.data == '{"empty":[],"none":{},"big":12345678901234567890,"float":0.1,"text":"é\u2028\\"\\\\"}'


def test_a_bulk_is_answered_in_its_order(store: Store) -> None:
    jobs = [a_job("a"), a_job("b", delay=LONG), a_job("c", queue="other", priority=7)]

    answers = store.submission.submit(jobs)

    assert [answer.id for answer in answers] == [job.id for job in jobs]
    assert [answer.state for answer in answers] == [State.WAITING, State.DELAYED, State.WAITING]
    assert not any(answer.duplicate for answer in answers)


def test_a_thousand_jobs_go_in_with_one_call_and_keep_their_order(store: Store, worker: Worker) -> None:
    store.submission.submit([a_job(f"job-{number}", tags=["bulk"]) for number in range(1000)])

    assert order(worker.claim(1000)) == [f"job-{number}" for number in range(1000)]


@pytest.mark.parametrize("number", [0, 1001])
def test_a_bulk_of_a_wrong_size_is_refused(store: Store, number: int) -> None:
    with pytest.raises(ValueError, match=f"not {number}"):
        store.submission.submit([a_job()] * number)


@pytest.mark.parametrize("where", ["waiting", "delayed", "active", "completed", "failed", "cancelled", "expired"])
def test_an_id_in_use_is_a_duplicate_whatever_the_state(store: Store, where: str) -> None:
    a_job_that_is(store, where, jobId="same")

    [answer] = store.submission.submit([a_job("another", queue="elsewhere", jobId="same")])

    assert (answer.id, answer.state, answer.duplicate) == ("same", State(where), True)
    assert store.inspection.get("same").name == "task"
    assert events(store)[-1] == "duplicated"
    with pytest.raises(NotFound):
        store.queues.get("elsewhere")


def test_an_id_is_free_again_once_its_job_is_removed(store: Store) -> None:
    submit(store, jobId="same")
    store.actions.remove("same")

    [answer] = store.submission.submit([a_job("new", jobId="same")])

    assert not answer.duplicate
    assert store.inspection.get("same").name == "new"


def test_an_id_that_comes_twice_in_one_bulk_is_stored_once(store: Store, worker: Worker) -> None:
    answers = store.submission.submit([a_job("first", jobId="same"), a_job("second", jobId="same"), a_job("third")])

    assert [answer.duplicate for answer in answers] == [False, True, False]
    assert order(worker.claim(10)) == ["first", "third"]


def test_a_repeated_call_with_generated_ids_is_no_duplicate(store: Store) -> None:
    jobs = [a_job(), a_job()]
    store.submission.submit(jobs)

    again = store.submission.submit(jobs)

    assert [answer.duplicate for answer in again] == [False, False]
    assert counts(store) == {"waiting": 2}


def test_a_full_queue_refuses_a_bulk_as_a_whole(store: Store) -> None:
    store.queues.set_limits("small", max_length=3)
    store.submission.submit([a_job(queue="small"), a_job(queue="small", delay=LONG)])

    with pytest.raises(QueueFull) as refused:
        store.submission.submit([a_job(queue="new"), a_job(queue="small"), a_job(queue="small")])

    assert (refused.value.queue, refused.value.limit) == ("small", 3)
    assert counts(store, "small") == {"waiting": 1, "delayed": 1}
    assert store.queues.names() == ["small"]


def test_duplicates_need_no_place_in_a_full_queue(store: Store) -> None:
    store.queues.set_limits("small", max_length=2)
    submit(store, queue="small", jobId="a")

    answers = store.submission.submit([a_job(queue="small", jobId=job_id) for job_id in ("a", "b", "b", "a")])

    assert [answer.duplicate for answer in answers] == [True, False, True, True]


def test_running_jobs_need_no_place_in_a_full_queue(store: Store, worker: Worker) -> None:
    store.queues.set_limits("small", max_length=1)
    submit(store, queue="small")
    worker.claim_one()

    assert state(store, submit(store, queue="small")) is State.WAITING


def test_two_prefixes_on_one_server_do_not_see_each_other(store: Store) -> None:
    from backroom.store import Store as AnyStore  # noqa: PLC0415 - the name is only for types above

    other = AnyStore(store.redis, prefix=f"{store.keys.prefix}-other")
    submit(store, jobId="same")

    assert state(other, submit(other, jobId="same")) is State.WAITING
    other.actions.remove("same")
    assert state(store, "same") is State.WAITING
