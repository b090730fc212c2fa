"""Schedulers that are many, die, freeze, and have wrong clocks; the clock of the store itself: one job a slot."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backroom.local.server import EmbeddedServer
from backroom.model.job import format_time
from backroom.model.states import State
from backroom.store import Rate
from backroom.store.records import from_ms
from tests.integration.engine.stage import Stage
from tests.integration.faults.counting import all_completed, each_ran_once
from tests.integration.schedules.programs import Programs, a_schedule, eventually, server_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.store import Store

HOUR = 3_600_000
#: From Debian's package libfaketime; the second for programs with threads.
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime*.so.1"))
with_faketime = pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed")


@pytest.fixture
def programs(store: Store, redis_url: str, tmp_path: Path) -> Iterator[Programs]:
    """Starts processes on the store of the test."""
    programs = Programs(store, redis_url, tmp_path)
    yield programs
    programs.end()


class History:
    """The slots that schedules have fired. Each schedule remembers a few, so they are gathered while the test waits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: dict[tuple[str, int], set[str]] = {}
        self._early: list[dict[str, Any]] = []

    def count(self, key: str) -> int:
        """How many slots of a schedule have been fired so far."""
        view = self._store.schedules.get(key)
        for fire in view.last_fires:
            self._jobs.setdefault((key, fire["slot"]), set()).add(fire["jobId"])
            if fire["at"] < fire["slot"]:
                self._early.append(fire)
        return view.fire_count

    def until(self, key: str, *, more: int) -> None:
        """Wait until a schedule has fired so many more slots."""
        before = self.count(key)
        eventually(lambda: self.count(key) >= before + more)

    def doubled(self) -> list[set[str]]:
        """The jobs of each slot that has more than one."""
        return [jobs for jobs in self._jobs.values() if len(jobs) != 1]

    def check(self, key: str, *, every: int) -> None:
        """Fail unless each slot of the grid has been fired once, none early, and there is one job for each."""
        self._store.schedules.pause(key)
        count = self.count(key)
        slots = sorted(slot for name, slot in self._jobs if name == key)
        assert (slots[-1] - slots[0]) % every == 0
        assert count == (slots[-1] - slots[0]) // every + 1
        assert [slot for slot in slots if (slot - slots[0]) % every] == []
        assert self.doubled() == []
        assert self._early == []
        assert self._store.queues.get(f"queue-of-{key}").counts[State.WAITING] == count


def let_pass(store: Store, key: str, ms: int) -> None:
    """Bring a schedule's grid and its next slot nearer, as if that time had gone by."""
    record = store.keys.single(f"schedule:{key}")
    before = store.redis.hgetall(record)
    upcoming = int(before["next"]) - ms
    store.redis.hset(record, mapping={"next": upcoming, "anchor": int(before["anchor"]) - ms})
    store.redis.zadd(store.keys.single("schedules"), {key: upcoming})


def coming(store: Store, key: str) -> int:
    """The slot that a scheduler will see to next."""
    return int(store.redis.hget(store.keys.single(f"schedule:{key}"), "next") or 0)


def test_three_schedulers_and_then_two_make_one_job_a_slot(store: Store, programs: Programs) -> None:
    schedulers = [programs.scheduler(ready=False) for _ in range(3)]
    programs.until_ready(*schedulers)
    history = History(store)
    store.schedules.put("often", a_schedule("queue-of-often", every=500))

    history.until("often", more=12)
    assert schedulers.pop().terminate() == 0
    history.until("often", more=12)

    history.check("often", every=500)


def test_schedulers_that_are_killed_and_started_lose_and_double_nothing(store: Store, programs: Programs) -> None:
    running = [programs.scheduler()]
    history = History(store)
    store.schedules.put("often", a_schedule("queue-of-often", every=500))
    history.until("often", more=1)
    for _ in range(2):
        running.append(programs.scheduler())
        running.pop(0).kill()
        history.until("often", more=2)

    history.check("often", every=500)


def test_a_frozen_scheduler_holds_up_no_other_and_fires_nothing_again(store: Store, programs: Programs) -> None:
    frozen, other = programs.scheduler(ready=False), programs.scheduler(ready=False)
    programs.until_ready(frozen, other)
    history = History(store)
    store.schedules.put("often", a_schedule("queue-of-often", every=500))
    history.until("often", more=2)

    frozen.freeze()
    history.until("often", more=4)

    history.check("often", every=500)


@with_faketime
def test_the_clocks_of_schedulers_do_not_matter(store: Store, programs: Programs) -> None:
    clocks = [{"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME": offset} for offset in ("+2d", "-2d")]
    programs.until_ready(*[programs.scheduler(ready=False, **clock) for clock in clocks])
    history = History(store)
    start = server_ms(store)
    store.schedules.put("often", a_schedule("queue-of-often", every=500))
    store.schedules.put("cron", a_schedule("queue-of-cron", pattern="* * * * * *", tz="Europe/Berlin"))

    history.until("often", more=6)
    history.until("cron", more=4)

    history.check("often", every=500)
    history.check("cron", every=1000)
    slots = [fire["slot"] for fire in store.schedules.get("cron").last_fires]
    assert start <= min(slots) <= max(slots) <= server_ms(store)


@pytest.mark.parametrize(("policy", "made"), [("skip", 0), ("one", 1), ("all", 5)])
def test_a_killed_scheduler_comes_back_after_five_slots(
    store: Store, programs: Programs, policy: str, made: int
) -> None:
    scheduler = programs.scheduler()
    store.schedules.put("hourly", a_schedule(every=HOUR, misfire=policy))
    eventually(lambda: store.schedules.get("hourly").fire_count == 1)
    scheduler.kill()
    let_pass(store, "hourly", 5 * HOUR + HOUR // 2)

    programs.scheduler()
    eventually(lambda: coming(store, "hourly") > server_ms(store))

    view = store.schedules.get("hourly")
    assert view.fire_count == 1 + made
    newest = view.next[0] - HOUR
    assert [fire["slot"] for fire in view.last_fires[:made]] == [newest - HOUR * back for back in range(made)]


@pytest.mark.slow  # a unit test shows the same
@pytest.mark.timeout(300)
def test_thousands_of_schedules_with_one_slot_all_get_their_jobs(store: Store, programs: Programs) -> None:
    """Although the last of them are late by more than a misfire is."""
    number = 4000
    programs.until_ready(*[programs.scheduler(ready=False) for _ in range(2)])
    slot = server_ms(store) + 30_000
    for place in range(number):
        policy = "skip" if place % 2 else "one"
        store.schedules.put(f"s{place}", a_schedule(every=HOUR, startDate=format_time(from_ms(slot)), misfire=policy))
    assert server_ms(store) < slot, "this machine is too slow for this test"

    waiting = store.keys.state("default", State.WAITING)
    eventually(lambda: store.redis.zcard(waiting), until=lambda made: made == number)

    assert {view.fire_count for view in store.schedules.list()} == {1}


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file that says how far the store's clock is off."""
    path = tmp_path / "clock"
    path.write_text("+0")
    return path


@pytest.fixture
def store_of_two_clocks(tmp_path: Path, clock: Path) -> Iterator[Stage]:
    """A stage whose store has a clock of its own, with two schedulers and a worker."""
    server = EmbeddedServer(tmp_path / "server", appendonly=False)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LD_PRELOAD", str(FAKETIME[-1]))
        environment.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
        environment.setenv("FAKETIME_NO_CACHE", "1")
        environment.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        server.start()
    try:
        with Stage(server.url, "clock", tmp_path / "stage", events_max=1_000_000) as stage:
            for name in ("one", "two"):
                stage.scheduler(name)
            stage.worker(pool="threads")
            yield stage
    finally:
        server.stop()


def set_clock_of(store: Store, clock: Path, offset: int) -> None:
    """Set the store's clock so many seconds off, by half an hour or more."""
    was = server_ms(store)
    clock.write_text(f"{offset:+d}")
    eventually(lambda: server_ms(store), until=lambda now: abs(now - was) > HOUR // 2)


#: Berlin skips 02:00 to 03:00 on 28 March 2027 and shows it twice on 31 October; New York on 14 March and 7 November.
CHANGES = [
    ("America/New_York", "2027-03-13T05:00", "30 2 * * *", ["13T07:30", "14T07:00", "15T06:30"]),
    ("Europe/Berlin", "2027-03-27T00:00", "30 2 * * *", ["27T01:30", "28T01:00", "29T00:30"]),
    ("Europe/Berlin", "2027-10-30T00:00", "30 2 * * *", ["30T00:30", "31T00:30", "01T01:30"]),
    ("America/New_York", "2027-11-06T04:00", "30 1 * * *", ["06T05:30", "07T05:30", "08T06:30"]),
]


@with_faketime
def test_a_time_of_the_day_comes_once_a_day_when_the_clocks_of_its_zone_change(
    store_of_two_clocks: Stage, clock: Path
) -> None:
    """The times that are expected are UTC. Missed slots are made up for, so that the days may go by in a moment."""
    stage = store_of_two_clocks
    for place, (zone, begin, pattern, expected) in enumerate(CHANGES):
        key = f"daily-{place}"
        away = datetime.fromisoformat(f"{begin}+00:00").timestamp() - time.time()
        set_clock_of(stage.store, clock, int(away))
        stage.store.schedules.put(key, a_schedule(pattern=pattern, tz=zone, job={"name": "echo", "queue": key}))

        set_clock_of(stage.store, clock, int(away) + 3 * 24 * 3600)

        eventually(lambda key=key: coming(stage.store, key) > server_ms(stage.store))
        fires = stage.store.schedules.get(key).last_fires[::-1]
        assert [f"{from_ms(fire['slot']):%dT%H:%M}" for fire in fires] == expected
        all_completed(stage, [fire["jobId"] for fire in fires])
        stage.store.schedules.remove(key)


@with_faketime
def test_the_clock_of_the_store_may_be_set_forward_and_back(store_of_two_clocks: Stage, clock: Path) -> None:
    stage = store_of_two_clocks
    store = stage.store

    def set_clock(offset: int) -> None:
        set_clock_of(store, clock, offset)

    running = stage.submit("wait", **{"for": "go"})
    stage.began(running)
    due = stage.submit("echo", delay=HOUR // 2)
    far = stage.submit("echo", queue="far", delay=10 * HOUR)
    store.queues.set_limits("rated", rate=Rate(1, 1000))
    history = History(store)
    for policy in ("all", "one", "skip"):
        store.schedules.put(policy, a_schedule(every=1000, misfire=policy, job={"name": "echo", "queue": "slots"}))
        history.until(policy, more=2)

    before = {policy: store.schedules.get(policy).fire_count for policy in ("all", "one", "skip")}
    set_clock(3600)

    stage.result(due)
    for policy, least in (("all", 100), ("one", 1), ("skip", 0)):
        eventually(lambda policy=policy: coming(store, policy) > server_ms(store))
        history.until(policy, more=3)
        made = store.schedules.get(policy).fire_count - before[policy]
        assert least <= made < least + 30
    stage.result(stage.submit("echo", queue="rated"))

    set_clock(0)
    made = {policy: store.schedules.get(policy).fire_count for policy in before}
    for job_id in (stage.submit("echo", queue="rated"), stage.submit("echo"), stage.submit("echo", delay=300)):
        stage.result(job_id)
    lost = stage.submit("wait", **{"for": "lost"})
    stage.began(lost)
    # Until that hour comes again nothing is fired, for it has been fired already.
    assert {policy: store.schedules.get(policy).fire_count for policy in before} == made

    set_clock(3600)
    for policy in before:
        history.until(policy, more=2)
    stage.let("go")
    stage.let("lost")

    all_completed(stage, [running, due, lost])
    each_ran_once(stage, [running, due, lost])
    assert stage.job(far).state is State.DELAYED
    assert history.doubled() == []
