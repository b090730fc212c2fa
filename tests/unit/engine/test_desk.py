"""The desk on a real store, with a dispatcher and slots that do what the test says."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from backroom.engine.desk import Desk
from backroom.engine.estimate import ShortJobs
from backroom.engine.request import JobRequest
from backroom.model.errors import StoreUnavailable
from backroom.model.states import State
from backroom.settings import Settings
from backroom.store import WorkerView
from backroom.store.execution import Claimed, Outcome, Served
from backroom.store.upkeep import Swept, Upkeep
from tests.unit.store.hand import counts, eventually, state, submit, submit_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backroom.store import Store
    from backroom.store.execution import OutcomeKind

APP = Celery("unit-desk", set_as_current=False)


@APP.task(name="task")
def nothing() -> None:
    """Do nothing: these jobs are never run."""


class Slots:
    """In place of the dispatcher: keeps what it is given."""

    def __init__(self, slots: int) -> None:
        self.slots, self.estimate = slots, ShortJobs()
        self.given: list[JobRequest] = []
        self.lost: list[str] = []
        self.to_stop: list[str] = []

    def add(self, requests: Sequence[JobRequest]) -> None:
        for request in requests:
            request.on_lost = lambda lost: self.lost.append(lost.id)
            request.on_terminate = lambda unwanted, _signal: self.to_stop.append(unwanted.id)
        self.given += requests


class Bench:
    """A desk and its slots."""

    def __init__(self, store: Store, url: str, slots: int = 2, **settings: Any) -> None:
        given = {"redis_url": url, "key_prefix": store.keys.prefix, "lease_seconds": 1, "sweep_seconds": 1, **settings}
        self.store, self.slots = store, Slots(slots)
        self.served = Served()
        self.desk = Desk(
            worker="desk-1",
            url=url,
            settings=Settings(**given),
            adopt=self._adopt,
            served=lambda: self.served,
            job_types=[],
            schedules={},
            view=self._view,
        )

    def _adopt(self, claimed: Claimed) -> JobRequest:
        return JobRequest(claimed, task=APP.tasks["task"], app=APP, hostname="desk-1")

    def _view(self) -> WorkerView:
        return WorkerView(
            id="desk-1", host="here", pid=1, queues=None, pool="unit", slots=2, busy=0, jobs=(), started_at=1
        )

    def start(self) -> None:
        self.desk.start(self.slots)  # type: ignore[arg-type]  # what the desk needs of a dispatcher

    def given(self, number: int) -> list[JobRequest]:
        """The jobs that the slots were given, once they are so many."""
        return eventually(lambda: list(self.slots.given), until=lambda given: len(given) >= number)

    def end(self, request: JobRequest, kind: OutcomeKind = "completed", **fields: Any) -> None:
        request.over = True
        if kind == "completed":
            fields = {"result": "null", **fields}
        self.desk.settle(request, Outcome(id=request.id, token=request.claimed.token, outcome=kind, **fields))

    def has_ended(self, job_id: str) -> None:
        eventually(lambda: state(self.store, job_id) is State.COMPLETED)


@pytest.fixture
def make(store: Store, redis_url: str) -> Iterator[Callable[..., Bench]]:
    """Makes a bench that is not started; its desk ends with the test."""
    benches = []

    def make(**given: Any) -> Bench:
        benches.append(Bench(store, redis_url, **given))
        return benches[-1]

    yield make
    for bench in benches:
        for request in bench.slots.given:
            if not request.over:
                bench.end(request, "release")
        bench.desk.finish(5)


@pytest.fixture
def bench(make: Callable[..., Bench]) -> Bench:
    """A desk at work, with two slots."""
    bench = make()
    bench.start()
    return bench


def answer_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch, *, times: int, carried_out: bool) -> list[str]:
    """Lose the answers of the next exchanges on their way. Returns the tokens of all exchanges, as they are made."""
    execution, tokens = bench.desk.store.execution, list[str]()
    exchange = execution.exchange

    def unlucky(**given: Any) -> Any:
        tokens.append(given["token"])
        if len(tokens) <= times:
            if carried_out:
                exchange(**given)
            raise StoreUnavailable("lost on its way")
        return exchange(**given)

    monkeypatch.setattr(execution, "exchange", unlucky)
    return tokens


def test_it_claims_what_there_are_slots_for(bench: Bench) -> None:
    ids = submit_many(bench.store, 5)

    assert [request.id for request in bench.given(2)] == ids[:2]
    assert counts(bench.store) == {"active": 2, "waiting": 3}


def test_what_ends_is_settled_and_makes_room(bench: Bench) -> None:
    ids = submit_many(bench.store, 3)
    first, _ = bench.given(2)

    bench.end(first)

    bench.has_ended(first.id)
    assert [request.id for request in bench.given(3)] == ids


def test_an_idle_desk_is_woken_by_a_job(bench: Bench) -> None:
    for _ in range(5):
        job_id = submit(bench.store)
        request = bench.given(1)[-1]
        assert request.id == job_id
        bench.slots.given.clear()
        bench.end(request)
        bench.has_ended(job_id)


def test_very_short_jobs_are_claimed_ahead(make: Callable[..., Bench]) -> None:
    bench = make()
    for _ in range(100):
        bench.slots.estimate.saw(0.001)
    submit_many(bench.store, 60)

    bench.start()

    assert len(bench.given(60)) == 60


@pytest.mark.parametrize("carried_out", [True, False])
def test_an_exchange_without_an_answer_is_made_again_and_does_nothing_twice(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, *, carried_out: bool
) -> None:
    bench = make()
    ids = submit_many(bench.store, 4)
    tokens = answer_lost(bench, monkeypatch, times=2, carried_out=carried_out)

    bench.start()

    requests = bench.given(2)
    assert [request.id for request in requests] == ids[:2]
    assert len(set(tokens[:3])) == 1
    assert counts(bench.store) == {"active": 2, "waiting": 2}
    for request in requests:
        bench.end(request)
        bench.has_ended(request.id)


@pytest.mark.parametrize("carried_out", [True, False])
def test_outcomes_without_an_answer_are_settled_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, carried_out: bool
) -> None:
    [job_id] = submit_many(bench.store, 1)
    [request] = bench.given(1)
    answer_lost(bench, monkeypatch, times=2, carried_out=carried_out)

    bench.end(request)

    bench.has_ended(job_id)
    eventually(lambda: "the job store is back" in caplog.text)
    assert "refused" not in caplog.text
    assert eventually(lambda: not bench.desk.held())


def test_a_wake_up_during_an_exchange_is_not_lost(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange may have looked before the job came, and the wake-up comes once."""
    bench = make(idle_wait_seconds=60)
    execution, late = bench.desk.store.execution, list[str]()
    exchange = execution.exchange

    def slow(**given: Any) -> Any:
        answer = exchange(**given)
        if not late:
            late.append(submit(bench.store))
            bench.store.redis.delete(bench.store.keys.wake())
            bench.desk.woken()
        return answer

    monkeypatch.setattr(execution, "exchange", slow)

    bench.start()

    assert bench.given(1)[0].id == late[0]


def test_an_outcome_that_the_store_stumbles_over_holds_up_no_other(bench: Bench) -> None:
    submit_many(bench.store, 2)
    bad, good = bench.given(2)

    bench.end(bad, "nonsense")  # type: ignore[arg-type]  # what no code of ours sends
    bench.end(good)

    bench.has_ended(good.id)
    assert eventually(lambda: not bench.desk.held())
    submit_many(bench.store, 2)
    assert len(bench.given(4)) == 4  # and its slot is free


def test_a_late_outcome_is_refused_and_forgotten(make: Callable[..., Bench], caplog: pytest.LogCaptureFixture) -> None:
    bench = make(lease_seconds=600, worker_sweep_seconds=600)
    bench.start()
    [job_id] = submit_many(bench.store, 1)
    [request] = bench.given(1)
    bench.store.redis.hset(bench.store.keys.job(job_id), "token", "somebody-else")

    bench.end(request)

    eventually(lambda: "came too late and was refused" in caplog.text)
    assert eventually(lambda: not bench.desk.held())
    assert state(bench.store, job_id) is State.ACTIVE


def test_leases_are_renewed_while_jobs_run(bench: Bench) -> None:
    submit_many(bench.store, 2)
    bench.given(2)
    active = bench.store.keys.state("default", "active")

    def leases() -> list[float]:
        return [score for _, score in bench.store.redis.zrange(active, 0, -1, withscores=True)]

    first = leases()
    eventually(lambda: min(leases()) > max(first) + 1500)

    assert counts(bench.store) == {"active": 2}


def test_leases_are_renewed_although_a_sweep_has_much_to_do(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def endless(_: Upkeep) -> Iterator[Swept]:
        while True:
            begun.set()
            yield Swept()

    monkeypatch.setattr(Upkeep, "steps", endless)
    bench = make(worker_sweep_seconds=0.1)
    bench.start()
    [job_id] = submit_many(bench.store, 1)
    bench.given(1)
    assert begun.wait(60)

    def lease() -> float:
        return bench.store.redis.zscore(bench.store.keys.state("default", "active"), job_id) or 0

    first = lease()
    eventually(lambda: lease() > first + 1500)


def test_a_lost_lease_is_told_once_and_the_job_makes_room_when_it_is_dropped(bench: Bench) -> None:
    submit_many(bench.store, 3)
    lost, _ = bench.given(2)
    bench.store.redis.hset(bench.store.keys.job(lost.id), "token", "somebody-else")

    eventually(lambda: bench.slots.lost)
    bench.desk.abandon(lost)
    lost.over = True

    bench.given(3)
    assert bench.slots.lost == [lost.id]
    assert lost not in bench.desk.held()


def test_a_job_that_has_just_ended_is_not_taken_for_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is settled in the store before the desk knows, and a renewal in between finds that nobody holds it."""
    [job_id] = submit_many(bench.store, 1)
    [request] = bench.given(1)
    execution, asked = bench.desk.store.execution, list[str]()
    exchange, renew = execution.exchange, execution.renew

    def slow(**given: Any) -> Any:
        answer = exchange(**given)
        if given["outcomes"]:
            eventually(lambda: job_id in asked)
        return answer

    def watched(held: Any, **given: Any) -> Any:
        answers = renew(held, **given)
        if state(bench.store, job_id) is State.COMPLETED:
            asked.extend(each.id for each in held)
        return answers

    monkeypatch.setattr(execution, "exchange", slow)
    monkeypatch.setattr(execution, "renew", watched)

    bench.end(request)

    assert eventually(lambda: not bench.desk.held())
    assert bench.slots.lost == []
    assert "was lost" not in caplog.text


def test_a_cancellation_is_heard_at_once_and_by_renewal_if_the_word_was_lost(make: Callable[..., Bench]) -> None:
    bench = make(lease_seconds=600, worker_sweep_seconds=600)
    bench.start()
    submit_many(bench.store, 1)
    [request] = bench.given(1)
    eventually(lambda: bench.store.redis.pubsub_numsub(bench.store.keys.single("control"))[0][1] == 1)

    bench.store.actions.cancel(request.id)

    eventually(lambda: bench.slots.to_stop)  # long before a renewal


def test_a_cancellation_whose_word_was_lost_is_heard_with_the_renewal(bench: Bench) -> None:
    submit_many(bench.store, 1)
    [request] = bench.given(1)

    bench.store.redis.hset(bench.store.keys.job(request.id), "cancel", "1")

    eventually(lambda: bench.slots.to_stop)


def test_a_desk_that_stops_claiming_settles_on(bench: Bench) -> None:
    submit_many(bench.store, 3)
    first, second = bench.given(2)

    bench.desk.stop_claiming()
    for request in (first, second):
        bench.end(request)
        bench.has_ended(request.id)

    assert counts(bench.store) == {"completed": 2, "waiting": 1}
    bench.desk.resume_claiming()
    bench.given(3)


def test_other_queues_are_served_from_the_moment_they_are_named(make: Callable[..., Bench]) -> None:
    bench = make(idle_wait_seconds=60)
    bench.served = Served(named=["mine"])
    bench.start()
    submit(bench.store, queue="mine")
    bench.given(1)  # and now it waits for that queue's wake-up, with room for one more
    theirs = submit(bench.store, queue="theirs")

    bench.served = Served(named=["mine", "theirs"])
    bench.desk.served_anew()

    assert bench.given(2)[1].id == theirs
    bench.end(bench.given(2)[0])
    later = submit(bench.store, queue="theirs")
    assert bench.given(3)[2].id == later


def test_the_end_waits_for_what_is_left_to_settle(bench: Bench) -> None:
    submit_many(bench.store, 2)
    requests = bench.given(2)
    for request in requests:
        bench.end(request)

    bench.desk.finish(10)

    assert counts(bench.store) == {"completed": 2}
    assert bench.store.workers.list() == []


def test_the_end_comes_soon_when_there_is_nothing_to_settle(bench: Bench) -> None:
    eventually(bench.store.workers.list)
    began = time.monotonic()

    bench.desk.finish(60)

    assert time.monotonic() - began < 30


def test_the_end_does_not_wait_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    submit_many(bench.store, 1)
    [request] = bench.given(1)
    answer_lost(bench, monkeypatch, times=1_000_000, carried_out=False)
    bench.end(request)

    bench.desk.finish(0.5)

    assert "1 outcomes could not be settled" in caplog.text
