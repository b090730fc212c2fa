"""In which order jobs are claimed, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.job import new_job
from backroom.model.options import JobOptions
from backroom.model.states import State
from backroom.store.execution import Served
from tests.unit.store.hand import LONG, Worker, a_job, counts, order, state, submit

if TYPE_CHECKING:
    from backroom.store import Store


def test_a_claimed_job_is_active_and_says_who_has_it(store: Store, worker: Worker) -> None:
    job_id = submit(store)

    claimed = worker.claim_one()

    job = store.inspection.get(job_id)
    assert claimed.id == job_id
    assert (job.state, job.worker) == (State.ACTIVE, "worker-1")
    assert job.started_at is not None
    assert job.wait_ms is not None


def test_a_claim_tells_the_worker_all_it_needs(store: Store, worker: Worker) -> None:
    submit(store, "resize", queue="images", data={"a": 1}, attempts=2)

    claimed = worker.claim_one()

    assert (claimed.name, claimed.queue, claimed.data) == ("resize", "images", '{"a":1}')
    assert (claimed.made, claimed.stalled, claimed.options) == (0, 0, '{"attempts":2}')
    assert (claimed.celery, claimed.traceparent) == ("", "")


def test_nothing_to_do_is_an_empty_claim(worker: Worker) -> None:
    answer = worker.exchange(room=5)

    assert (answer.accepted, answer.claimed, answer.next_due) == ([], [], None)


def test_a_job_is_claimed_once(store: Store, worker: Worker) -> None:
    submit(store)

    assert len(worker.claim(10)) == 1
    assert worker.claim(10) == Worker(store, "worker-2").claim(10) == []


def test_no_more_than_the_room_is_claimed(store: Store, worker: Worker) -> None:
    store.submission.submit([a_job() for _ in range(5)])

    assert len(worker.claim(3)) == 3
    assert counts(store) == {"waiting": 2, "active": 3}


def test_the_first_in_is_the_first_out(store: Store, worker: Worker) -> None:
    for number in range(10):
        submit(store, f"job-{number}")

    assert [worker.claim_one().name for _ in range(10)] == [f"job-{number}" for number in range(10)]


def test_lower_priority_numbers_run_first_and_equals_in_their_order(store: Store, worker: Worker) -> None:
    for name, priority in [("c", 3), ("a1", 1), ("b", 2), ("a2", 1), ("first", 0)]:
        submit(store, name, priority=priority)

    assert order(worker.claim(10)) == ["first", "a1", "a2", "b", "c"]


def test_the_order_is_the_same_within_one_bulk(store: Store, worker: Worker) -> None:
    jobs = [("c", 3), ("plain", None), ("a1", 1), ("last", 2_097_151), ("a2", 1), ("plain2", 0)]
    store.submission.submit(
        [a_job(name, **({} if priority is None else {"priority": priority})) for name, priority in jobs]
    )

    assert order(worker.claim(10)) == ["plain", "plain2", "a1", "a2", "c", "last"]


def test_last_in_first_out_goes_before_its_equals_only(store: Store, worker: Worker) -> None:
    submit(store, "a")
    submit(store, "b", priority=1)
    submit(store, "c", lifo=True)
    submit(store, "d", lifo=True)
    submit(store, "e", priority=1, lifo=True)

    assert order(worker.claim(10)) == ["d", "c", "a", "e", "b"]


def test_queues_take_turns(store: Store, worker: Worker) -> None:
    for queue in ("a", "b", "c"):
        store.submission.submit([a_job(f"{queue}{number}", queue=queue) for number in range(3)])

    served = [worker.claim_one().queue for _ in range(9)]

    assert sorted(served[:3]) == sorted(served[3:6]) == sorted(served[6:]) == ["a", "b", "c"]


def test_one_claim_shares_its_room_over_the_queues(store: Store, worker: Worker) -> None:
    store.submission.submit([a_job(queue="busy") for _ in range(100)] + [a_job(queue="quiet") for _ in range(2)])

    claimed = worker.claim(10)

    assert len(claimed) == 10
    assert [job.queue for job in claimed].count("quiet") == 2


def test_many_queues_are_all_served(store: Store, worker: Worker) -> None:
    names = {f"queue-{number}" for number in range(150)}
    store.submission.submit([a_job(queue=name) for name in names])

    served = {worker.claim_one().queue for _ in names}

    assert served == names


def test_named_queues_are_served_and_others_are_not(store: Store) -> None:
    store.submission.submit([a_job(queue=queue) for queue in ("a", "b", "c")])
    named = Worker(store, served=Served(named=["c", "a", "missing"]))

    assert sorted(job.queue for job in named.claim(10)) == ["a", "c"]
    assert named.claim(10) == []


def test_named_queues_take_turns_whatever_the_order_of_their_names(store: Store) -> None:
    store.submission.submit([a_job(queue=queue) for queue in "ababab"])
    named = Worker(store, served=Served(named=["b", "a"]))

    served = [named.claim_one().queue for _ in range(6)]

    assert sorted(served[:2]) == sorted(served[2:4]) == sorted(served[4:]) == ["a", "b"]


def test_a_worker_without_queues_claims_nothing(store: Store) -> None:
    submit(store)

    assert Worker(store, served=Served(named=[])).claim(10) == []


def test_excluded_queues_are_left_to_others(store: Store, worker: Worker) -> None:
    store.submission.submit([a_job(queue=queue) for queue in ("a", "b", "c")])
    excluding = Worker(store, "excluding", served=Served(without={"b": True}))

    assert sorted(job.queue for job in excluding.claim(10)) == ["a", "c"]
    assert [job.queue for job in worker.claim(10)] == ["b"]


def test_a_claim_says_when_the_next_job_is_due(store: Store, worker: Worker) -> None:
    submit(store, delay=LONG)

    due = worker.exchange(room=1).next_due

    assert due is not None
    assert LONG - 60_000 < due <= LONG + 1  # rounded up


@pytest.mark.parametrize("room", [-1, 1001])
def test_a_claim_of_a_wrong_size_is_refused(worker: Worker, room: int) -> None:
    with pytest.raises(ValueError, match="at most 1000"):
        worker.claim(room)


def test_a_job_that_came_too_late_is_never_claimed(store: Store, worker: Worker) -> None:
    late = JobOptions.model_construct(_fields_set={"ttl"}, ttl=0)  # as Celery's expiries in the past are read
    for _ in range(20):
        job = new_job(name="task", data={}, options=late)
        store.submission.submit([job])

        assert worker.claim() == []
        assert state(store, job.id) is State.EXPIRED


def test_a_job_past_its_ttl_is_not_claimed_but_expires(store: Store, worker: Worker) -> None:
    late = submit(store, ttl=1)
    good = submit(store)
    while not (claimed := worker.claim(1)) or claimed[0].id == late:  # it may be claimed within its very first ms
        assert not claimed or worker.end(claimed[0], "release")

    assert claimed[0].id == good
    assert state(store, late) is State.EXPIRED


def test_a_wall_of_expired_jobs_does_not_hide_the_work_behind_it(store: Store, worker: Worker) -> None:
    store.submission.submit([a_job(ttl=1) for _ in range(40)])
    submit(store, "good")

    names: list[str] = []
    while not names:  # each call looks at some more, and one that found nothing leaves a wake-up behind
        claimed = worker.claim(1)
        names = [job.name for job in claimed if job.name == "good"]
        for job in claimed:
            if job.name != "good":
                worker.end(job, "release")
        assert names or store.redis.exists(store.keys.wake())

    assert counts(store).get("expired") == 40
