"""Schedules in the store: one job a slot, whatever happens around it."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.errors import InvalidInput, NotFound, StoreFull
from backroom.model.options import JobOptions
from backroom.model.schedule import ScheduleSpec, parse_schedule
from backroom.model.states import State
from backroom.store import Store, connect
from backroom.store.idempotency import KeyClaim
from tests.unit.store.hand import Worker, counts, submit

if TYPE_CHECKING:
    from collections.abc import Callable

    from backroom.local.server import EmbeddedServer

HOUR = 3_600_000
JOB = {"name": "task"}


def spec(**fields: Any) -> ScheduleSpec:
    """A valid schedule; hourly unless it says otherwise."""
    rhythm = {} if fields.keys() & {"pattern", "every"} else {"every": HOUR}
    return parse_schedule({"job": JOB} | rhythm | fields)


def key_of(store: Store, key: str) -> str:
    return store.keys.single(f"schedule:{key}")


def let_pass(store: Store, key: str, ms: int) -> None:
    """Bring a schedule's grid and its next slot nearer, as if that time had gone by."""
    before = store.redis.hgetall(key_of(store, key))
    upcoming = int(before["next"]) - ms
    store.redis.hset(key_of(store, key), mapping={"next": upcoming, "anchor": int(before["anchor"]) - ms})
    store.redis.zadd(store.keys.single("schedules"), {key: upcoming})


def meanwhile(monkeypatch: pytest.MonkeyPatch, store: Store, act: Callable[[], object]) -> None:
    """Do something right after a schedule was read for the first time from now on."""
    read = store.schedules._read

    def reading(key: str) -> dict[str, str] | None:
        found = read(key)
        monkeypatch.setattr(store.schedules, "_read", read)
        act()
        return found

    monkeypatch.setattr(store.schedules, "_read", reading)


# Firing.


def test_a_slot_makes_one_job(store: Store) -> None:
    store.schedules.put("a", spec(job={"name": "task", "queue": "other", "data": {"x": 1}, "options": {"tags": ["t"]}}))

    assert store.schedules.fire_due() == (1, 0)
    made, due = store.schedules.fire_due()

    view = store.schedules.get("a")
    [fire] = view.last_fires
    job = store.inspection.get(fire["jobId"])
    assert made == 0
    assert due is not None
    assert HOUR - 60_000 < due <= HOUR
    assert (job.name, job.queue, job.data, job.tags, job.state) == ("task", "other", {"x": 1}, ("t",), State.WAITING)
    assert view.fire_count == 1
    assert view.next[0] == fire["slot"] + HOUR
    assert [event.type for event in store.events.read("0-0")] == ["added", "waiting"]


def test_nothing_is_due_where_there_is_no_schedule(store: Store) -> None:
    assert store.schedules.fire_due() == (0, None)


def test_a_step_is_bounded_and_says_that_there_is_more(store: Store) -> None:
    for number in range(420):
        store.schedules.put(f"s{number}", spec())

    steps = [store.schedules.fire_due() for _ in range(4)]

    assert sum(made for made, _ in steps) == 420
    assert [due for _, due in steps[:3]] == [0, 0, 0]
    assert max(made for made, _ in steps) <= 201
    assert counts(store) == {"waiting": 420}


def test_any_number_of_schedulers_makes_one_job_a_slot(store: Store, redis_url: str) -> None:
    for number in range(60):
        store.schedules.put(f"s{number}", spec(every=60_000, misfire="all"))
        let_pass(store, f"s{number}", 3 * 60_000)
    start = threading.Barrier(4)
    made: list[int] = []

    def schedule() -> None:
        own = Store(connect(redis_url, timeout=10), prefix=store.keys.prefix)
        start.wait()
        made.extend(own.schedules.fire_due()[0] for _ in range(4))
        own.redis.close()

    threads = [threading.Thread(target=schedule) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    slots = [[fire["slot"] for fire in view.last_fires] for view in store.schedules.list()]
    assert sum(made) == 240
    assert counts(store) == {"waiting": 240}
    assert all(len(set(found)) == 4 for found in slots)


def fire(store: Store, key: str, record: list[str | None], now: int) -> int:
    """What a scheduler does at ``now`` about a record that it has read before. Returns jobs made, or -1."""
    call = store.schedules._planned(key, record, now, now)
    assert call is not None
    [made] = store.schedules._run_each("fire", [call])
    return int(made)


def test_a_firing_for_what_has_changed_meanwhile_does_nothing(store: Store) -> None:
    store.schedules.put("a", spec())
    read = store.redis.hmget(key_of(store, "a"), "definition", "revision", "next", "anchor")
    now = int(store.redis.time()[0]) * 1000 + 999

    assert fire(store, "a", read, now) == 1
    assert fire(store, "a", read, now) == -1
    store.schedules.remove("a")
    assert fire(store, "a", read, now) == -1

    assert counts(store) == {"waiting": 1}


def test_a_slot_that_the_store_finds_early_is_left_alone(store: Store) -> None:
    store.schedules.put("a", spec(startDate="2099-01-01T00:00:00Z"))
    read = store.redis.hmget(key_of(store, "a"), "definition", "revision", "next", "anchor")

    assert fire(store, "a", read, 4_080_000_000_000) == -1
    assert store.schedules.get("a").fire_count == 0


def test_an_earlier_schedule_wakes_the_schedulers(store: Store) -> None:
    wake = store.keys.wake("scheduler")
    store.schedules.put("a", spec(startDate="2090-01-01T00:00:00Z"))
    assert store.redis.delete(wake) == 1

    store.schedules.put("b", spec(startDate="2091-01-01T00:00:00Z"))
    assert store.redis.exists(wake) == 0
    store.schedules.put("c", spec(startDate="2089-01-01T00:00:00Z"))
    assert store.redis.exists(wake) == 1


def test_a_full_queue_does_not_stop_a_schedule(store: Store) -> None:
    store.queues.set_limits("default", max_length=1)
    submit(store)
    store.schedules.put("a", spec())

    assert store.schedules.fire_due()[0] == 1
    assert store.schedules.run("a")
    assert counts(store) == {"waiting": 3}


def test_a_paused_queue_does_not_stop_a_schedule(store: Store) -> None:
    store.queues.pause("default")
    store.schedules.put("a", spec())

    assert store.schedules.fire_due()[0] == 1


def test_emptying_a_queue_leaves_its_schedules_alone(store: Store) -> None:
    store.schedules.put("a", spec())
    store.schedules.fire_due()

    store.emptying.drain("default", delayed=True)
    store.emptying.clean("default", state=State.WAITING, grace_ms=0, limit=100)
    store.emptying.obliterate("default", force=True)
    let_pass(store, "a", HOUR)

    assert store.schedules.fire_due()[0] == 1
    assert counts(store) == {"waiting": 1}


def test_numbers_and_nulls_of_the_data_are_kept(store: Store) -> None:
    text = '{"big":123456789012345678901,"float":1.0,"null":null,"list":[],"text":"\\u00e9\\u0000"}'
    store.schedules.put("a", spec(job={"name": "task", "data": json.loads(text)}))

    store.schedules.fire_due()
    [claimed] = Worker(store).claim(9)

    assert json.loads(claimed.data) == json.loads(text)
    assert '"float":1.0' in claimed.data
    assert store.schedules.get("a").spec.job.data == json.loads(text)


def test_a_user_can_be_found_by_the_jobs_made_for_him(store: Store) -> None:
    store.schedules.put("a", spec(job={"name": "task", "data": {"userId": "u"}}))
    store.schedules.fire_due()

    assert store.redis.zcard(store.keys.index("user", "u")) == 1


def test_jobs_have_the_defaults_of_their_type(store: Store) -> None:
    schedule = spec(job={"name": "task", "options": {"priority": 1}})
    store.schedules.put("a", schedule, template=schedule.template(JobOptions(attempts=4, priority=9)))
    store.schedules.fire_due()

    [fire] = store.schedules.get("a").last_fires
    job = store.inspection.get(fire["jobId"])
    assert (job.attempts, job.priority) == (4, 1)
    assert store.schedules.get("a").spec.job.options == JobOptions(priority=1)


# Missed slots, limits, overlap.


@pytest.mark.parametrize(("policy", "made"), [("skip", 0), ("one", 1), ("all", 5)])
def test_missed_slots_follow_the_policy(store: Store, policy: str, made: int) -> None:
    store.schedules.put("a", spec(every=60_000, misfire=policy))
    let_pass(store, "a", 5 * 60_000 - 30_000)

    assert store.schedules.fire_due()[0] == made

    view = store.schedules.get("a")
    assert view.fire_count == made
    assert 0 < view.next[0] - int(store.redis.time()[0]) * 1000 <= 31_000


@pytest.mark.parametrize("policy", ["skip", "one", "all"])
def test_slots_that_wait_for_their_turn_behind_many_others_are_not_missed(
    store: Store, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """A scheduler has been firing the others for five seconds, without a pause."""
    store.schedules.put("a", spec(every=1000, misfire=policy))
    let_pass(store, "a", 5000)
    now = int(store.redis.hget(key_of(store, "a"), "next") or 0) + 5200
    monkeypatch.setattr("backroom.store.schedules.ms_of_clock", lambda _: now)  # whatever time this test has taken
    store.schedules._firing_since, store.schedules._fired_at = now - 5500, now - 100

    assert store.schedules.fire_due()[0] == 6


@pytest.mark.parametrize(("policy", "made"), [("skip", 1), ("one", 1)])
def test_slots_of_a_scheduler_that_stood_still_meanwhile_are_missed(store: Store, policy: str, made: int) -> None:
    store.schedules.put("a", spec(every=1000, misfire=policy))
    let_pass(store, "a", 5000)
    now = store.schedules._now_ms()
    store.schedules._firing_since, store.schedules._fired_at = now - 5500, now - 3000

    assert store.schedules.fire_due()[0] in {made, made + 1}


def test_turns_do_not_last_for_ever(store: Store) -> None:
    store.schedules.put("a", spec(every=HOUR, misfire="skip"))
    let_pass(store, "a", 65_000)
    now = store.schedules._now_ms()
    store.schedules._firing_since, store.schedules._fired_at = now - 70_000, now - 100

    assert store.schedules.fire_due()[0] == 0


def test_it_is_finished_after_its_limit(store: Store) -> None:
    store.schedules.put("a", spec(limit=2))
    store.schedules.fire_due()
    assert store.schedules.get("a").next[1:] == ()
    let_pass(store, "a", HOUR)
    store.schedules.fire_due()

    view = store.schedules.get("a")
    assert (view.state, view.next, view.fire_count) == ("finished", (), 2)
    assert store.schedules.fire_due() == (0, None)


def test_making_up_stops_at_the_limit_too(store: Store) -> None:
    store.schedules.put("a", spec(every=60_000, misfire="all", limit=3))
    let_pass(store, "a", 10 * 60_000)

    assert store.schedules.fire_due()[0] == 3
    assert store.schedules.get("a").state == "finished"


def test_a_higher_limit_or_a_later_end_goes_on_and_makes_up_nothing(store: Store) -> None:
    store.schedules.put("a", spec(limit=1))
    store.schedules.fire_due()

    store.schedules.put("a", spec(limit=2))

    view = store.schedules.get("a")
    assert (view.state, view.fire_count) == ("active", 1)
    assert view.next == (view.last_fires[0]["slot"] + HOUR,)


def test_what_must_not_overlap_waits_for_its_last_job(store: Store, worker: Worker) -> None:
    store.schedules.put("a", spec(overlap=False, limit=2))
    store.schedules.fire_due()
    for _ in range(2):
        let_pass(store, "a", HOUR)
        assert store.schedules.fire_due()[0] == 0
    job = worker.claim_one()
    let_pass(store, "a", HOUR)
    assert store.schedules.fire_due()[0] == 0
    assert store.schedules.get("a").state == "active"  # what is left out spends nothing of the limit

    worker.end(job)
    let_pass(store, "a", HOUR)

    assert store.schedules.fire_due()[0] == 1
    assert store.schedules.get("a").state == "finished"


def test_a_job_run_by_hand_counts_as_one_at_work(store: Store) -> None:
    store.schedules.put("a", spec(overlap=False))
    store.schedules.run("a")

    assert store.schedules.fire_due()[0] == 0


def test_what_must_not_overlap_waits_for_a_job_that_the_history_does_not_show_any_more(
    store: Store, worker: Worker
) -> None:
    store.schedules.put("a", spec(overlap=False))
    store.schedules.fire_due()
    running = worker.claim_one()
    for _ in range(12):
        store.schedules.run("a")
        worker.end(worker.claim_one())
    assert running.id not in {fire["jobId"] for fire in store.schedules.get("a").last_fires}

    let_pass(store, "a", HOUR)
    assert store.schedules.fire_due()[0] == 0

    worker.end(running)
    let_pass(store, "a", HOUR)
    assert store.schedules.fire_due()[0] == 1
    assert store.redis.keys("*working*") == []


def test_what_is_remembered_of_a_schedule_without_overlap_goes_with_it(store: Store) -> None:
    store.schedules.put("a", spec(overlap=False))
    for _ in range(12):
        store.schedules.run("a")
    assert len(store.redis.keys("*working*")) == 1

    store.schedules.remove("a")

    assert store.redis.keys("*schedules:*") == [store.keys.single("schedules:revision")]


def test_what_may_overlap_does(store: Store) -> None:
    store.schedules.put("a", spec())
    store.schedules.fire_due()
    let_pass(store, "a", HOUR)

    assert store.schedules.fire_due()[0] == 1


def test_the_history_holds_the_newest_ten(store: Store) -> None:
    store.schedules.put("a", spec(every=1000, misfire="all"))
    let_pass(store, "a", 30_000)
    store.schedules.fire_due()

    view = store.schedules.get("a")
    slots = [fire["slot"] for fire in view.last_fires]
    assert len(slots) == 10
    assert slots == sorted(slots, reverse=True)
    assert view.fire_count > 30


# Putting.


def test_putting_the_same_again_keeps_the_grid_and_the_next_slot(store: Store) -> None:
    assert store.schedules.put("a", spec()) is True
    store.schedules.fire_due()
    before = store.schedules.get("a")

    assert store.schedules.put("a", spec()) is False
    assert store.schedules.get("a") == before


def test_a_missed_slot_is_not_lost_when_the_same_is_put_again(store: Store) -> None:
    store.schedules.put("a", spec())
    let_pass(store, "a", HOUR // 2)

    store.schedules.put("a", spec(misfire="one", overlap=False))

    assert store.schedules.fire_due()[0] == 1


def test_another_interval_begins_anew_at_once(store: Store) -> None:
    store.schedules.put("a", spec())
    store.schedules.fire_due()

    store.schedules.put("a", spec(every=2 * HOUR))

    assert store.schedules.fire_due()[0] == 1
    view = store.schedules.get("a")
    assert view.next[0] == view.last_fires[0]["slot"] + 2 * HOUR
    assert view.fire_count == 2


def test_another_pattern_takes_the_place_of_the_coming_slot(store: Store) -> None:
    store.schedules.put("a", spec(startDate="2090-01-01T00:00:00Z"))

    store.schedules.put("a", spec(pattern="0 0 1 1 *"))

    assert store.schedules.get("a").next[0] < 3_800_000_000_000


def test_a_put_that_meets_a_firing_does_not_fire_the_slot_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.schedules.put("a", spec())
    meanwhile(monkeypatch, store, store.schedules.fire_due)

    store.schedules.put("a", spec(limit=5))

    assert store.schedules.get("a").fire_count == 1
    assert store.schedules.fire_due()[0] == 0


def test_a_put_that_meets_a_removal_makes_it_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.schedules.put("a", spec())
    meanwhile(monkeypatch, store, lambda: store.schedules.remove("a"))

    assert store.schedules.put("a", spec()) is True


def test_two_that_make_the_same_at_once_make_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, store, lambda: store.schedules.put("a", spec()))

    assert store.schedules.put("a", spec()) is False
    assert [view.key for view in store.schedules.list()] == ["a"]


def test_a_name_that_was_removed_is_no_old_acquaintance(store: Store) -> None:
    store.schedules.put("a", spec())
    old = store.redis.hget(key_of(store, "a"), "revision")
    store.schedules.remove("a")
    store.schedules.put("a", spec())

    assert store.redis.hget(key_of(store, "a"), "revision") != old


def test_schedules_are_listed_by_creation(store: Store) -> None:
    for key in "cab":
        store.schedules.put(key, spec())
    store.schedules.put("c", spec(every=1000))

    assert [view.key for view in store.schedules.list()] == ["c", "a", "b"]


def test_data_that_is_not_json_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInput):
        store.schedules.put("a", spec(job={"name": "task", "data": {1, 2}}))
    assert store.schedules.list() == []


# Pausing.


def test_a_paused_schedule_fires_nothing_and_makes_up_nothing(store: Store) -> None:
    store.schedules.put("a", spec(misfire="all"))
    store.schedules.fire_due()
    store.schedules.pause("a")
    paused = store.schedules.get("a")
    assert (paused.state, paused.paused, paused.next) == ("paused", True, ())
    before = int(store.redis.hget(key_of(store, "a"), "next") or 0)
    store.redis.hset(key_of(store, "a"), mapping={"next": before - 5 * HOUR, "anchor": before - 6 * HOUR})
    assert store.schedules.fire_due() == (0, None)

    store.schedules.resume("a")

    assert store.schedules.fire_due()[0] == 0
    assert store.schedules.get("a").next[0] == before


def test_pausing_twice_and_resuming_what_runs_change_nothing(store: Store) -> None:
    store.schedules.put("a", spec())
    let_pass(store, "a", 5000)
    store.schedules.resume("a")
    assert store.schedules.fire_due()[0] == 1  # the slot was due, and stayed so
    store.schedules.pause("a")
    store.schedules.pause("a")
    assert store.schedules.get("a").state == "paused"


def test_resuming_in_the_very_ms_of_a_slot_does_not_fire_it_again(store: Store) -> None:
    store.schedules.put("a", spec())
    store.schedules.fire_due()
    just_now = store.schedules.get("a").next[0]
    store.redis.hset(key_of(store, "a"), "seen", just_now)
    store.schedules.pause("a")

    store.schedules.resume("a")

    assert store.schedules.get("a").next[0] == just_now + HOUR


def test_a_pause_that_meets_a_firing_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.schedules.put("a", spec())
    meanwhile(monkeypatch, store, store.schedules.fire_due)

    store.schedules.pause("a")
    store.schedules.resume("a")

    assert store.schedules.fire_due()[0] == 0
    assert store.schedules.get("a").fire_count == 1


def test_what_is_put_again_stays_paused_unless_it_says_otherwise(store: Store) -> None:
    store.schedules.put("a", spec())
    store.schedules.pause("a")

    store.schedules.put("a", spec(every=1000))
    assert store.schedules.get("a").state == "paused"
    store.schedules.put("a", spec(every=1000, paused=False))
    assert store.schedules.get("a").state == "active"
    store.schedules.put("a", spec(every=1000, paused=True))
    assert store.schedules.get("a").state == "paused"


def test_a_new_one_can_begin_paused(store: Store) -> None:
    store.schedules.put("a", spec(paused=True))

    assert store.schedules.fire_due() == (0, None)
    store.schedules.resume("a")
    assert store.schedules.get("a").state == "active"


def test_a_finished_one_stays_finished(store: Store) -> None:
    store.schedules.put("a", spec(limit=1))
    store.schedules.fire_due()
    store.schedules.pause("a")
    assert store.schedules.get("a").state == "finished"
    store.schedules.resume("a")
    assert store.schedules.get("a").state == "finished"


@pytest.mark.parametrize("act", ["get", "pause", "resume", "remove", "run"])
def test_one_that_is_not_there_is_not_found(store: Store, act: str) -> None:
    with pytest.raises(NotFound, match="schedule 'missing'"):
        getattr(store.schedules, act)("missing")


# Running by hand, removing.


def test_a_run_by_hand_is_in_the_history_and_spends_nothing(store: Store) -> None:
    store.schedules.put("a", spec(limit=1, startDate="2090-01-01T00:00:00Z"))
    before = store.schedules.get("a").next

    job_id = store.schedules.run("a")

    view = store.schedules.get("a")
    assert [(fire.get("slot"), fire["jobId"]) for fire in view.last_fires] == [(None, job_id)]
    assert (view.fire_count, view.next) == (0, before)
    assert view.to_dict()["lastFires"][0]["slot"] is None
    assert store.inspection.get(job_id).state is State.WAITING


def test_a_run_under_a_claim_is_made_once(store: Store) -> None:
    store.schedules.put("a", spec())
    claim = store.idempotency.claim("scope", "print", keep_seconds=60)
    assert isinstance(claim, KeyClaim)

    for _ in range(2):
        assert store.schedules.run("a", job_id=claim.new_id(), once=claim.name) == claim.new_id()

    assert counts(store) == {"waiting": 1}
    assert len(store.schedules.get("a").last_fires) == 1


def test_a_removed_schedule_leaves_its_jobs_and_nothing_else(store: Store) -> None:
    store.schedules.put("a", spec())
    store.schedules.fire_due()

    store.schedules.remove("a")

    assert store.schedules.list() == []
    assert store.schedules.fire_due() == (0, None)
    assert counts(store) == {"waiting": 1}
    assert store.redis.keys(store.keys.single("schedule*")) == [store.keys.single("schedules:revision")]


# What goes wrong.


def test_one_that_cannot_be_read_stops_no_other(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for key in ("bad", "good"):
        store.schedules.put(key, spec())
    definition = json.loads(store.redis.hget(key_of(store, "bad"), "definition") or "")
    broken = json.dumps(definition | {"every": None, "pattern": "0 0 * * *", "tz": "Mars/Olympus"})
    store.redis.hset(key_of(store, "bad"), "definition", broken)

    assert store.schedules.fire_due()[0] == 1

    assert "'bad' cannot be fired" in caplog.text
    made, due = store.schedules.fire_due()
    assert (made, due is not None and 50_000 < due <= 60_000) == (0, True)
    assert [view.key for view in store.schedules.list()] == ["good"]


def test_one_whose_record_was_deleted_by_hand_is_due_no_more(store: Store) -> None:
    for key in ("deleted", "good"):
        store.schedules.put(key, spec())
    store.redis.delete(key_of(store, "deleted"))

    assert store.schedules.fire_due()[0] == 1

    made, due = store.schedules.fire_due()
    assert (made, due is not None and due > 0) == (0, True)
    assert [view.key for view in store.schedules.list()] == ["good"]


def test_one_that_was_paused_by_hand_is_due_no_more(store: Store) -> None:
    store.schedules.put("a", spec())
    store.redis.hset(key_of(store, "a"), "paused", "1")

    assert store.schedules.fire_due() == (0, 0)
    assert store.schedules.fire_due() == (0, None)


def test_the_slot_of_one_that_could_not_be_read_for_a_while_is_not_lost(store: Store) -> None:
    store.schedules.put("a", spec())
    definition = store.redis.hget(key_of(store, "a"), "definition") or ""
    store.redis.hset(key_of(store, "a"), "definition", "{")
    assert store.schedules.fire_due()[0] == 0

    store.redis.hset(key_of(store, "a"), "definition", definition)
    store.redis.zadd(store.keys.single("schedules"), {"a": 1})

    assert store.schedules.fire_due()[0] == 1


def test_a_full_store_fires_later(own_server: EmbeddedServer) -> None:
    store = Store(connect(own_server.url, timeout=10), prefix="full")
    store.schedules.put("a", spec())
    store.redis.config_set("maxmemory", "1mb")

    with pytest.raises(StoreFull):
        store.schedules.fire_due()
    store.schedules.pause("a")  # goes on at the limit, as does resuming
    store.schedules.resume("a")
    store.redis.config_set("maxmemory", "0")
    let_pass(store, "a", HOUR)

    assert store.schedules.fire_due()[0] == 1
    store.redis.close()
