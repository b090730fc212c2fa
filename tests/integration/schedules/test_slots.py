"""One job a slot, with real schedulers that come and go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.schedule import ScheduleSpec, parse_schedule
from backroom.model.states import State
from tests.integration.schedules.programs import Programs, eventually, server_ms

if TYPE_CHECKING:
    from backroom.store import Store

HOUR = 3_600_000
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def spec(queue: str = "default", **fields: Any) -> ScheduleSpec:
    """A valid schedule, that makes up whatever a busy machine makes late."""
    return parse_schedule({"job": {"name": "noop", "queue": queue}, "misfire": "all"} | fields)


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

    def check(self, key: str, *, every: int) -> None:
        """Fail unless each slot of the grid has been fired once, none early, and there is one job for each."""
        self._store.schedules.pause(key)
        count = self.count(key)
        slots = sorted(slot for name, slot in self._jobs if name == key)
        assert (slots[-1] - slots[0]) % every == 0
        assert count == (slots[-1] - slots[0]) // every + 1
        assert [slot for slot in slots if (slot - slots[0]) % every] == []
        assert [jobs for jobs in self._jobs.values() if len(jobs) != 1] == []
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
    store.schedules.put("often", spec("queue-of-often", every=500))

    history.until("often", more=12)
    assert schedulers.pop().terminate() == 0
    history.until("often", more=12)

    history.check("often", every=500)


def test_schedulers_that_are_killed_and_started_lose_and_double_nothing(store: Store, programs: Programs) -> None:
    running = [programs.scheduler()]
    history = History(store)
    store.schedules.put("often", spec("queue-of-often", every=500))
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
    store.schedules.put("often", spec("queue-of-often", every=500))
    history.until("often", more=2)

    frozen.freeze()
    history.until("often", more=4)

    history.check("often", every=500)


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed")
def test_the_clocks_of_schedulers_do_not_matter(store: Store, programs: Programs) -> None:
    clocks = [{"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME": offset} for offset in ("+2d", "-2d")]
    programs.until_ready(*[programs.scheduler(ready=False, **clock) for clock in clocks])
    history = History(store)
    start = server_ms(store)
    store.schedules.put("often", spec("queue-of-often", every=500))
    store.schedules.put("cron", spec("queue-of-cron", pattern="* * * * * *", tz="Europe/Berlin"))

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
    store.schedules.put("hourly", spec(every=HOUR, misfire=policy))
    eventually(lambda: store.schedules.get("hourly").fire_count == 1)
    scheduler.kill()
    let_pass(store, "hourly", 5 * HOUR + HOUR // 2)

    programs.scheduler()
    eventually(lambda: coming(store, "hourly") > server_ms(store))

    view = store.schedules.get("hourly")
    assert view.fire_count == 1 + made
    newest = view.next[0] - HOUR
    assert [fire["slot"] for fire in view.last_fires[:made]] == [newest - HOUR * back for back in range(made)]


def test_a_schedule_ends_after_its_limit_or_its_end(store: Store, programs: Programs) -> None:
    programs.scheduler()
    now = server_ms(store)
    store.schedules.put("limited", spec(every=200, limit=5))
    end = store.schedules.get("limited").to_dict()["next"][-1]
    store.schedules.put("ending", spec(every=200, endDate=end))

    for key in ("limited", "ending"):
        eventually(lambda key=key: store.schedules.get(key).state == "finished")

    slots = [fire["slot"] for fire in store.schedules.get("limited").last_fires]
    assert len(slots) == 5
    assert min(slots) >= now
    assert max(fire["slot"] for fire in store.schedules.get("ending").last_fires) <= max(slots)


def test_pausing_resuming_and_running_by_hand(store: Store, programs: Programs) -> None:
    programs.scheduler()
    store.schedules.put("often", spec(every=300))
    store.schedules.put("clock", spec(every=300))
    eventually(lambda: store.schedules.get("often").fire_count > 0)

    store.schedules.pause("often")
    count, clock = store.schedules.get("often").fire_count, store.schedules.get("clock").fire_count
    eventually(lambda: store.schedules.get("clock").fire_count > clock + 4)
    by_hand = store.schedules.run("often")
    assert store.schedules.get("often").fire_count == count
    resumed_at = server_ms(store)
    store.schedules.resume("often")
    view = eventually(lambda: store.schedules.get("often"), until=lambda view: view.fire_count > count + 1)

    fired = [fire["slot"] for fire in view.last_fires if fire.get("slot")]
    assert not [slot for slot in fired if resumed_at - 1000 < slot < resumed_at]
    assert by_hand in {fire["jobId"] for fire in view.last_fires}


def test_a_changed_interval_begins_at_once(store: Store, programs: Programs) -> None:
    programs.scheduler()
    store.schedules.put("changing", spec(every=HOUR))
    eventually(lambda: store.schedules.get("changing").fire_count == 1)

    store.schedules.put("changing", spec(every=400))

    eventually(lambda: store.schedules.get("changing").fire_count > 3)


def test_emptying_its_queue_does_not_stop_a_schedule(store: Store, programs: Programs) -> None:
    programs.scheduler()
    store.schedules.put("often", spec(every=200))
    for empty in (
        lambda: store.emptying.drain("default", delayed=True),
        lambda: store.emptying.clean("default", state=State.WAITING, grace_ms=0, limit=1000),
        lambda: store.emptying.obliterate("default", force=True),
    ):
        seen = store.schedules.get("often").fire_count
        eventually(lambda seen=seen: store.schedules.get("often").fire_count > seen)
        empty()

    seen = store.schedules.get("often").fire_count
    eventually(lambda: store.schedules.get("often").fire_count > seen)


def test_schedules_in_code_are_brought_by_workers(store: Store, programs: Programs) -> None:
    programs.scheduler()
    programs.worker()

    view = eventually(lambda: store.schedules.get("code:tick"), until=lambda view: view.state == "finished")

    ids = [fire["jobId"] for fire in view.last_fires]
    eventually(lambda: [store.inspection.get(job_id).state for job_id in ids] == [State.COMPLETED] * 4)
    assert {store.inspection.get(job_id).attempts for job_id in ids} == {2}
