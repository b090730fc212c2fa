"""Bulk actions: one thing that is done to many jobs, once each, whoever makes the steps."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.errors import ActionOver, InvalidInput, NotFound
from backroom.model.job import INTERNAL_QUEUE
from backroom.model.names import new_id
from backroom.model.states import State
from backroom.store import JobQuery, Store, bulk, connect
from backroom.store.bulk import BulkAction, BulkActionKind, Reach
from tests.unit.store.hand import LONG, Worker, a_job, a_job_that_is, counts, outcome, run, state, submit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAILED = JobQuery(states=[State.FAILED])


def start(store: Store, action: BulkActionKind, what: JobQuery | Sequence[str], **more: Any) -> str:
    """Begin an action. Returns its id."""
    return store.bulk.start(new_id(), action, what, **more).id


def work(store: Store, go_on: Callable[[], bool] = lambda: True) -> None:
    """Do what is to be done, without rests."""
    store.bulk.work(go_on, rest=lambda _: None)


def act(store: Store, action: BulkActionKind, what: JobQuery | Sequence[str], **more: Any) -> BulkAction:
    """An action from its beginning to its end."""
    action_id = start(store, action, what, **more)
    work(store)
    return store.bulk.get(action_id)


def figures(action: BulkAction) -> tuple[str, int, int, int, int]:
    """The state, the total, and what became of the jobs."""
    return action.state, action.total, action.succeeded, action.skipped, action.failed


def fail_all(store: Store, jobs: list[Any]) -> list[str]:
    """Submit jobs and fail them. Returns their ids."""
    ids = [each.id for each in store.submission.submit(jobs)]
    worker = Worker(store)
    while claimed := worker.claim(500):
        worker.exchange([outcome(job, "failed") for job in claimed])
    return ids


def steps(number: int) -> Callable[[], bool]:
    """Says yes so many times."""
    left = iter([True] * number)
    return lambda: next(left, False)


def test_failed_jobs_are_retried_with_their_priority_their_options_and_in_their_order(store: Store) -> None:
    jobs = [a_job(priority=at % 3, attempts=2, data={"at": at}, backoff=500, timeout=1000) for at in range(120)]
    ids = [each.id for each in store.submission.submit(jobs)]
    worker = Worker(store)
    claimed = worker.claim(500)
    worker.exchange([outcome(job, "failed") for job in reversed(claimed)])

    done = act(store, "retry", FAILED)

    assert figures(done) == ("completed", 120, 120, 0, 0)
    assert [job.id for job in worker.claim(500)] == [job.id for job in claimed]
    for job, job_id in zip(jobs, ids, strict=True):
        found = store.inspection.get(job_id)
        assert (found.priority, found.options) == (job.options.priority, job.options.to_dict())


@pytest.mark.parametrize(
    ("action", "allowed", "becomes"),
    [
        ("retry", {"completed", "failed", "cancelled", "expired"}, "waiting"),
        ("cancel", {"waiting", "delayed", "active"}, "cancelled"),
        ("promote", {"delayed"}, "waiting"),
        ("remove", {"waiting", "delayed", "completed", "failed", "cancelled", "expired"}, None),
    ],
)
def test_jobs_in_the_wrong_state_are_skipped(
    store: Store, action: BulkActionKind, allowed: set[str], becomes: str | None
) -> None:
    states = ["completed", "failed", "cancelled", "expired", "active", "delayed", "waiting"]
    ids = {where: a_job_that_is(store, where) for where in states}

    done = act(store, action, JobQuery(queues=["default"]))

    assert figures(done) == ("completed", 7, len(allowed), 7 - len(allowed), 0)
    for where, job_id in ids.items():
        if where == "active":
            assert state(store, job_id) == "active"
            assert (store.inspection.record(job_id) or {}).get("cancel") if action == "cancel" else True
        else:
            assert state(store, job_id) == (becomes if where in allowed else where)


def test_named_jobs_are_acted_on_once_and_those_that_are_not_there_are_failures(store: Store) -> None:
    failed, waiting = run(store, kind="failed"), submit(store)

    done = act(store, "retry", [failed, "nowhere", waiting, failed])

    assert figures(done) == ("completed", 3, 1, 1, 1)
    assert state(store, failed) == "waiting"


def test_a_retry_may_give_all_tries_again(store: Store) -> None:
    spent = run(store, kind="failed", attempts=3)

    act(store, "retry", [spent], reset_attempts=True)

    found = store.inspection.get(spent)
    assert (found.attempts_made, found.attempts) == (0, 3)


def test_jobs_that_come_later_are_left_alone(store: Store) -> None:
    early = [run(store, kind="failed") for _ in range(3)]
    runs = submit(store)
    worker = Worker(store)
    claimed = worker.claim_one()

    action_id = start(store, "retry", FAILED)
    late = run(store, kind="failed")
    worker.end(claimed, "failed")
    work(store)

    assert store.bulk.get(action_id).succeeded == 3
    assert [state(store, job_id) for job_id in [*early, late, runs]] == ["waiting"] * 3 + ["failed"] * 2


def test_a_job_that_fails_again_meanwhile_is_not_retried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ACTED_AT_ONCE", 1)
    fail_all(store, [a_job() for _ in range(5)])
    action_id = start(store, "retry", FAILED)
    worker = Worker(store)

    while store.bulk.get(action_id).state == "running":
        work(store, steps(2))
        worker.exchange([outcome(job, "failed") for job in worker.claim(5)])

    assert figures(store.bulk.get(action_id)) == ("completed", 5, 5, 0, 0)
    assert counts(store) == {"failed": 5}


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ({"queues": ["images"]}, {"a", "b"}),
        ({"names": ["crop"]}, {"b", "c"}),
        ({"tags": ["x"]}, {"a", "c"}),
        ({"user_ids": ["ann"]}, {"a"}),
        ({"q": "CROP"}, {"b", "c"}),
        ({"q": "crop", "queues": ["post"]}, {"c"}),
        ({"states": [State.DELAYED], "tags": ["x", "y"]}, {"c"}),
        ({"states": [State.ACTIVE]}, set()),
        ({"queues": ["nowhere"]}, set()),
    ],
)
def test_filters_mean_what_they_mean_in_lists(store: Store, query: dict[str, Any], chosen: set[str]) -> None:
    ids = {
        "a": submit(store, "resize", queue="images", tags=["x"], data={"userId": "ann"}),
        "b": submit(store, "crop", queue="images", tags=["y"]),
        "c": submit(store, "crop", queue="post", tags=["x"], delay=LONG),
        "i": submit(store, "crop", queue=INTERNAL_QUEUE, tags=["x", "y"], data={"userId": "ann"}),
    }

    assert store.bulk.count(JobQuery(**query), within=10) == len(chosen)
    done = act(store, "cancel", JobQuery(**query))

    assert figures(done) == ("completed", len(chosen), len(chosen), 0, 0)
    assert {name for name, job_id in ids.items() if state(store, job_id) == "cancelled"} == chosen


def test_bounds_on_the_creation_hold(store: Store) -> None:
    ids = [submit(store) for _ in range(3)]
    middle = store.inspection.get(ids[1]).created_at
    store.redis.zadd(store.keys.index("queue", "default"), {ids[0]: 1, ids[2]: middle.timestamp() * 1e6 + 5e6})

    done = act(store, "cancel", JobQuery(from_=middle, to=middle + timedelta(milliseconds=1)))

    assert (done.total, state(store, ids[1])) == (1, "cancelled")


def test_a_reach_bounds_what_may_be_touched(store: Store) -> None:
    mine, theirs = run(store, queue="mine", kind="failed"), run(store, queue="theirs", kind="failed")
    other_type = run(store, "other", queue="mine", kind="failed")

    done = act(store, "retry", [mine, theirs, other_type], reach=Reach(queues=["mine"], names=["task"]))

    assert figures(done) == ("completed", 3, 1, 0, 2)
    assert [state(store, job_id) for job_id in (mine, theirs, other_type)] == ["waiting", "failed", "failed"]


@pytest.mark.parametrize("sought", [3, 1000])
def test_whoever_makes_the_steps_no_job_is_acted_on_twice(
    store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch, sought: int
) -> None:
    monkeypatch.setattr(bulk, "SOUGHT_AT_ONCE", sought)
    monkeypatch.setattr(bulk, "ACTED_AT_ONCE", 3)
    ids = fail_all(store, [a_job() for _ in range(100)])
    action_id = start(store, "retry", FAILED)

    def help_out() -> None:
        client = connect(redis_url, timeout=10)
        other = Store(client, prefix=store.keys.prefix)
        while other.bulk.get(action_id).state == "running":
            other.bulk.work(lambda: True, rest=lambda _: None)
        client.close()

    threads = [threading.Thread(target=help_out) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert figures(store.bulk.get(action_id)) == ("completed", 100, 100, 0, 0)
    assert [job.id for job in Worker(store).claim(500)] == ids


@pytest.mark.parametrize("before", [1, 2, 5, 11])
def test_an_action_goes_on_where_a_process_that_died_has_left_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(bulk, "SOUGHT_AT_ONCE", 7)
    monkeypatch.setattr(bulk, "ACTED_AT_ONCE", 7)
    fail_all(store, [a_job() for _ in range(50)])
    action_id = start(store, "retry", FAILED)
    first = Store(store.redis, prefix=store.keys.prefix)
    first.bulk.work(steps(before), rest=lambda _: None)
    assert store.redis.hexists(store.keys.bulk(action_id), "heldUntil")
    seconds, _ = store.redis.time()
    store.redis.hset(store.keys.bulk(action_id), "heldUntil", int(seconds) * 1000 + LONG)  # for longer than this test

    work(store)
    assert store.bulk.get(action_id).state == "running"  # the first may be alive: it has the action for a while
    store.redis.hset(store.keys.bulk(action_id), "heldUntil", 1)
    work(store)

    assert figures(store.bulk.get(action_id)) == ("completed", 50, 50, 0, 0)
    assert counts(store) == {"waiting": 50}


def test_several_actions_take_turns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ACTED_AT_ONCE", 1)
    fail_all(store, [a_job() for _ in range(20)])
    long, short = start(store, "retry", FAILED), start(store, "cancel", [submit(store)])

    work(store, steps(9))

    assert store.bulk.get(long).state == "running"
    assert store.bulk.get(short).state == "completed"


def test_an_aborted_action_does_no_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ACTED_AT_ONCE", 5)
    fail_all(store, [a_job() for _ in range(20)])
    action_id = start(store, "retry", FAILED)
    work(store, steps(4))

    aborted = store.bulk.abort(action_id)
    work(store)

    assert aborted.state == "aborted"
    assert aborted.finished_at
    assert 0 < aborted.succeeded < 20
    assert store.bulk.get(action_id) == store.bulk.abort(action_id) == aborted
    assert counts(store)["waiting"] == aborted.succeeded


def test_only_what_is_at_work_can_be_aborted(store: Store) -> None:
    done = act(store, "cancel", [submit(store)])

    with pytest.raises(ActionOver, match="completed already"):
        store.bulk.abort(done.id)
    with pytest.raises(NotFound):
        store.bulk.abort("nothing")


@pytest.mark.parametrize("action_id", ["nothing", "a:jobs", "", ".."])
def test_an_action_that_is_not_there_is_not_found(store: Store, action_id: str) -> None:
    start(store, "cancel", JobQuery(queues=["x"]))

    with pytest.raises(NotFound):
        store.bulk.get(action_id)


def test_the_same_id_again_begins_nothing(store: Store) -> None:
    action_id = new_id()
    first = store.bulk.start(action_id, "cancel", [submit(store)])
    work(store)

    again = store.bulk.start(action_id, "cancel", [submit(store)])

    assert again.state == "completed"
    assert again.created_at == first.created_at
    assert counts(store) == {"cancelled": 1, "waiting": 1}


def test_an_action_that_is_over_can_be_read_for_a_while(store: Store) -> None:
    done = act(store, "cancel", [submit(store)])
    key = store.keys.bulk(done.id)
    kept = store.settings.keep_bulk_actions_seconds * 1000

    assert kept - LONG < store.redis.pttl(key) <= kept
    assert not store.redis.exists(f"{key}:jobs")
    store.redis.delete(key)
    with pytest.raises(NotFound):
        store.bulk.get(done.id)
    assert store.bulk.page(limit=5).actions == []
    start(store, "cancel", ["x"])
    assert store.redis.zcard(store.keys.single("bulk-actions")) == 1


@pytest.mark.parametrize("limit", [1, 2, 5, 6])
def test_actions_are_listed_newest_first(store: Store, limit: int) -> None:
    ids = [start(store, "cancel", ["x"]) for _ in range(5)]
    store.redis.delete(store.keys.bulk(ids.pop(2)))

    found, cursor = [], None
    while True:
        page = store.bulk.page(limit=limit, cursor=cursor)
        found += [action.id for action in page.actions]
        if (cursor := page.next) is None:
            break

    assert found == ids[::-1]
    with pytest.raises(InvalidInput):
        store.bulk.page(limit=limit, cursor="x")


def test_an_action_shows_what_the_caller_asked_for(store: Store) -> None:
    action_id = start(store, "cancel", JobQuery(queues=["x"]), shown={"queue": "x"})

    shown = store.bulk.get(action_id).to_dict()

    assert shown["filter"] == {"queue": "x"}
    assert (shown["state"], shown["finishedAt"], shown["detail"]) == ("running", None, None)


def test_a_defect_ends_the_action_and_says_why(store: Store) -> None:
    action_id = start(store, "cancel", [submit(store)])
    store.redis.delete(f"{store.keys.bulk(action_id)}:jobs")
    store.redis.set(f"{store.keys.bulk(action_id)}:jobs", "no list")

    with pytest.raises(Exception, match="WRONGTYPE"):
        work(store)

    failed = store.bulk.get(action_id)
    assert failed.state == "failed"
    assert "WRONGTYPE" in (failed.detail or "")
    work(store)


def test_counting_gives_up_in_time(store: Store) -> None:
    submit(store)

    assert store.bulk.count(JobQuery(queues=["default"]), within=-1) is None


@pytest.mark.parametrize("number", [0, 1001])
def test_so_many_jobs_cannot_be_named(store: Store, number: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        start(store, "cancel", [str(at) for at in range(number)])
