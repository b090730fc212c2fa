"""Who is told first: receivers of webhooks take turns, by the time that they take, and leave slots to other jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.job import INTERNAL_QUEUE
from backroom.settings import Settings
from backroom.store import Store, WorkerView
from backroom.store.execution import Served
from backroom.store.webhooks import OWN
from tests.unit.store.hand import LONG, Worker, counts, outlive, run, submit
from tests.unit.store.mail import deliveries, dispatched, endpoint

if TYPE_CHECKING:
    from backroom.store.execution import Claimed, OutcomeKind

#: For making jobs, which leaves deliveries alone.
MAKER = Served(named=["default"])
#: Longer than it takes to be slow.
HANGS = 6_000


@pytest.fixture
def slow(store: Store) -> str:
    """An endpoint that is told of jobs that are cancelled."""
    return endpoint(store, "cancelled", url="https://slow.example/")


@pytest.fixture
def quick(store: Store) -> str:
    """An endpoint that is told of jobs that complete."""
    return endpoint(store, "completed", url="https://quick.example/")


def cancel(store: Store, number: int) -> None:
    """Have so many things to tell to the slow one."""
    for _ in range(number):
        store.actions.cancel(submit(store, delay=LONG))
    dispatched(store)


def complete(store: Store, number: int) -> None:
    """Have so many things to tell to the quick one."""
    worker = Worker(store, "maker", served=MAKER)
    for _ in range(number):
        submit(store)
    for job in worker.claim(number):
        worker.end(job)
    dispatched(store)


def whom(store: Store, claimed: list[Claimed]) -> list[str | None]:
    """The endpoints that claimed deliveries go to."""
    return [store.deliveries.get(job.id).endpoint for job in claimed]


def end(worker: Worker, job: Claimed, *, after: int, kind: OutcomeKind = "retry") -> None:
    """The job has run for so many ms, whatever time this test has taken, and ends."""
    seconds, micros = worker.store.redis.time()
    began = int(seconds) * 1000 + int(micros) // 1000 - after
    worker.store.redis.hset(worker.store.keys.job(job.id), "started", began)
    assert worker.end(job, kind, **({"delay": LONG} if kind == "retry" else {}))


def end_rest(store: Store) -> None:
    """The pauses of all receivers are over."""
    for key in ("lanes:resting", "limited"):
        for name in store.redis.zrange(store.keys.single(key), 0, -1):
            store.redis.zadd(store.keys.single(key), {name: 1})
    store.upkeep.promote()


def test_receivers_take_turns_however_much_there_is_for_one(
    store: Store, slow: str, quick: str, worker: Worker
) -> None:
    cancel(store, 50)
    complete(store, 3)

    assert whom(store, worker.claim(8)) == [slow, quick, slow, quick, slow, quick, slow, slow]


def test_a_receiver_is_told_in_order(store: Store, quick: str, worker: Worker) -> None:
    complete(store, 5)
    expected = [view.id for view in deliveries(store, quick)]

    assert [job.id for job in worker.claim(5)] == expected


def test_a_delivery_that_is_given_back_keeps_its_place(store: Store, quick: str, worker: Worker) -> None:
    complete(store, 3)
    expected = [view.id for view in deliveries(store, quick)]
    worker.end(worker.claim_one(), "release")

    assert [job.id for job in worker.claim(3)] == expected


def test_turns_are_shared_by_time(store: Store, slow: str, quick: str, worker: Worker) -> None:
    cancel(store, 9)
    complete(store, 20)
    first, second = worker.claim(2)
    end(worker, first, after=4_000, kind="completed")
    end(worker, second, after=0, kind="completed")

    served = []
    while slow not in served:
        job = worker.claim_one()
        served += whom(store, [job])
        end(worker, job, after=500, kind="completed")

    assert 3 < len(served) < 15, "eight turns of half a second for one of four, by a clock that goes on meanwhile"


def test_a_receiver_that_was_idle_has_saved_nothing_up(store: Store, slow: str, quick: str, worker: Worker) -> None:
    cancel(store, 9)
    for _ in range(3):
        end(worker, worker.claim_one(), after=1_000, kind="completed")
    complete(store, 9)
    served = []
    for _ in range(4):
        job = worker.claim_one()
        served += whom(store, [job])
        end(worker, job, after=1_000, kind="completed")

    assert served[0] == quick
    assert slow in served[1:3]


def test_only_so_many_deliveries_go_to_one_receiver_at_once(store: Store) -> None:
    own = Store(store.redis, prefix=store.keys.prefix, settings=Settings(webhook_at_once=3))
    endpoint(own, "completed")
    complete(own, 5)
    worker = Worker(own)
    claimed = worker.claim(9)
    assert len(claimed) == 3
    assert worker.claim(9) == []
    assert not own.redis.zscore(own.keys.single("ready"), INTERNAL_QUEUE)

    end(worker, claimed[0], after=5, kind="completed")

    assert own.redis.zscore(own.keys.single("ready"), INTERNAL_QUEUE) is not None
    assert len(worker.claim(9)) == 1


def test_a_receiver_that_is_slow_is_called_by_one_alone(store: Store, slow: str, worker: Worker) -> None:
    cancel(store, 9)
    claimed = worker.claim(2)
    end(worker, claimed[0], after=HANGS, kind="completed")
    assert worker.claim(9) == []
    end(worker, claimed[1], after=HANGS, kind="completed")
    [alone] = worker.claim(9)

    end(worker, alone, after=10, kind="completed")

    assert len(worker.claim(9)) == 6
    assert whom(store, [alone]) == [slow]


def test_a_receiver_that_does_not_answer_has_a_pause_while_others_are_told(
    store: Store, slow: str, quick: str, worker: Worker
) -> None:
    cancel(store, 9)
    end(worker, worker.claim_one(), after=HANGS)
    complete(store, 2)

    assert whom(store, worker.claim(9)) == [quick, quick]
    assert store.redis.zscore(store.keys.single("lanes:resting"), slow) > 0
    end_rest(store)
    assert whom(store, worker.claim(9)) == [slow]


def test_the_end_of_a_pause_is_something_that_workers_wait_for(store: Store, slow: str, worker: Worker) -> None:
    cancel(store, 2)
    end(worker, worker.claim_one(), after=HANGS)

    due = worker.exchange(room=1).next_due

    assert due is not None
    assert 0 < due <= 3 * HANGS + 1_000


def test_a_lone_delivery_has_no_pause(store: Store, slow: str, worker: Worker) -> None:
    cancel(store, 1)
    job = worker.claim_one()
    end(worker, job, after=HANGS)
    store.actions.promote(job.id)

    assert [again.id for again in worker.claim(1)] == [job.id]


@pytest.mark.parametrize("act", ["redeliver", "enable", "move"])
def test_somebody_who_says_that_it_works_ends_the_pause(store: Store, slow: str, worker: Worker, act: str) -> None:
    cancel(store, 5)
    job = worker.claim_one()
    end(worker, job, after=HANGS)
    assert worker.claim(9) == []

    if act == "redeliver":
        store.deliveries.redeliver(job.id)
    elif act == "enable":
        store.webhooks.update(slow, enabled=True)
    else:
        store.webhooks.update(slow, url="https://new.example/")

    assert len(worker.claim(9)) == (5 if act == "redeliver" else 4)


def test_the_jobs_own_webhooks_are_told_apart_by_host(store: Store, worker: Worker) -> None:
    for host in ("a.example", "a.example", "A.example", "b.example"):
        run(store, webhook={"url": f"https://{host}/{len(host)}", "events": ["completed"]})
    dispatched(store)

    urls = [store.deliveries.get(job.id).url for job in worker.claim(2)]

    assert sorted(url.split("/")[2] for url in urls) == ["a.example", "b.example"]
    assert len(deliveries(store, OWN)) == 4


def test_what_is_cancelled_or_removed_in_line_is_left_out(store: Store, quick: str, worker: Worker) -> None:
    complete(store, 4)
    first, second, third, last = (view.id for view in deliveries(store, quick))
    store.actions.cancel(first)
    store.actions.remove(third)

    assert [job.id for job in worker.claim(9)] == [second, last]
    assert counts(store, INTERNAL_QUEUE) == {"active": 2}


def test_a_delivery_whose_worker_is_lost_makes_room_for_the_next(store: Store, slow: str, worker: Worker) -> None:
    cancel(store, 3)
    end(worker, worker.claim_one(), after=HANGS, kind="completed")
    lost = worker.claim_one()
    assert worker.claim(9) == []

    outlive(store, "active", queue=INTERNAL_QUEUE)
    store.upkeep.sweep()
    end_rest(store)

    assert [job.id for job in Worker(store, "heir").claim(1)] == [lost.id]
    assert whom(store, [lost]) == [slow]


def test_deliveries_that_were_taken_away_while_they_ran_take_no_room(store: Store, slow: str, worker: Worker) -> None:
    cancel(store, 12)
    assert len(worker.claim(99)) == 10
    store.emptying.obliterate(INTERNAL_QUEUE, force=True)

    cancel(store, 12)

    assert len(worker.claim(99)) == 10


def test_other_jobs_of_the_internal_queue_run_as_ever(store: Store, slow: str, worker: Worker) -> None:
    cancel(store, 2)
    mine = [submit(store, queue=INTERNAL_QUEUE, priority=priority) for priority in (2_000_000, 5)]

    claimed = [job.id for job in worker.claim(9)]

    assert [job_id for job_id in claimed if job_id in mine] == mine[::-1]
    assert len(claimed) == 4


def beat(store: Store, name: str, slots: int, **view: object) -> None:
    said = {"host": "h", "pid": 1, "queues": None, "pool": "prefork", "busy": 0, "jobs": (), "started_at": 0, **view}
    store.workers.beat(WorkerView(id=name, slots=slots, **said))  # type: ignore[arg-type]  # as they are


def test_deliveries_leave_half_of_all_slots_to_other_jobs(store: Store, slow: str, quick: str, worker: Worker) -> None:
    beat(store, "one", 4)
    beat(store, "two", 3)
    beat(store, "quiet", 50, state="quiet")
    cancel(store, 9)
    complete(store, 9)

    assert whom(store, worker.claim(9)) == [slow, quick, slow]
    assert worker.claim(9) == []
    submit(store)
    assert [job.queue for job in worker.claim(9)] == ["default"]


def test_one_receiver_leaves_a_slot_to_the_others(store: Store, slow: str, quick: str, worker: Worker) -> None:
    beat(store, "one", 8)
    cancel(store, 9)
    assert whom(store, worker.claim(9)) == [slow] * 3

    complete(store, 9)

    assert whom(store, worker.claim(9)) == [quick]


def test_the_share_of_the_slots_is_a_setting_and_one_delivery_is_always_made(store: Store, worker: Worker) -> None:
    own = Store(store.redis, prefix=store.keys.prefix, settings=Settings(webhook_slots_percent=100))
    endpoint(own, "completed")
    endpoint(own, "completed")
    complete(own, 9)
    beat(own, "one", 3)
    assert len(Worker(own).claim(9)) == 3
    beat(own, "one", 1)
    small = Store(store.redis, prefix=store.keys.prefix, settings=Settings(webhook_slots_percent=1))
    assert Worker(small, "small").claim(9) == []
    outlive(small, "active", queue=INTERNAL_QUEUE)
    small.upkeep.sweep()
    end_rest(store)  # should this test have taken so long that they count as slow
    assert len(Worker(small, "heir").claim(9)) == 1


def test_a_limit_of_the_queue_counts_as_well(store: Store, quick: str, worker: Worker) -> None:
    store.queues.set_limits(INTERNAL_QUEUE, concurrency=2)
    complete(store, 9)
    beat(store, "one", 40)

    assert len(worker.claim(9)) == 2


def test_workers_that_are_gone_have_no_slots(store: Store, quick: str, worker: Worker) -> None:
    beat(store, "gone", 100)
    store.redis.zadd(store.keys.single("workers"), {"gone": 1})
    beat(store, "left", 100)
    store.workers.leave("left")
    beat(store, "one", 6)
    complete(store, 9)

    assert len(worker.claim(9)) == 2


def test_time_that_others_have_caught_up_with_is_forgotten(store: Store, slow: str, quick: str, worker: Worker) -> None:
    cancel(store, 3)
    complete(store, 3)
    for _ in range(6):
        for job in worker.claim(1):
            end(worker, job, after=1_000, kind="completed")
    worker.claim(1)

    assert store.redis.zcard(store.keys.single("lanes")) == 0
    assert store.redis.zcard(store.keys.single("lanes:spent")) <= 2
    assert list(store.redis.scan_iter(f"{store.keys.prefix}:lane:*")) == []
