"""Rhythms, limits and pauses of schedules, with real schedulers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from backroom.model.errors import NotFound
from backroom.model.states import State
from tests.integration.schedules.programs import Programs, a_schedule, eventually, server_ms

if TYPE_CHECKING:
    from backroom.store import Store
    from backroom.store.schedules import ScheduleView

HOUR = 3_600_000


def test_a_schedule_ends_after_its_limit_or_its_end(store: Store, programs: Programs) -> None:
    programs.scheduler()
    now = server_ms(store)
    store.schedules.put("limited", a_schedule(every=1000, limit=5))
    end = store.schedules.get("limited").to_dict()["next"][-1]
    store.schedules.put("ending", a_schedule(every=1000, endDate=end))

    for key in ("limited", "ending"):
        eventually(lambda key=key: store.schedules.get(key).state == "finished")

    slots = [fire["slot"] for fire in store.schedules.get("limited").last_fires]
    assert len(slots) == 5
    assert min(slots) >= now
    assert max(fire["slot"] for fire in store.schedules.get("ending").last_fires) <= max(slots)


def test_pausing_resuming_and_running_by_hand(store: Store, programs: Programs) -> None:
    programs.scheduler()
    store.schedules.put("often", a_schedule(every=300))
    store.schedules.put("clock", a_schedule(every=300))
    eventually(lambda: store.schedules.get("often").fire_count > 0)

    store.schedules.pause("often")
    paused, clock = store.schedules.get("often"), store.schedules.get("clock").fire_count
    count = paused.fire_count
    eventually(lambda: store.schedules.get("clock").fire_count > clock + 4)
    by_hand = store.schedules.run("often")
    assert store.schedules.get("often").fire_count == count
    resumed_at = server_ms(store)
    store.schedules.resume("often")
    shown = {fire["jobId"] for fire in store.schedules.get("often").last_fires}
    view = eventually(lambda: store.schedules.get("often"), until=lambda view: view.fire_count > count + 1)

    before = max(fire["slot"] for fire in paused.last_fires)
    after = [fire["slot"] for fire in view.last_fires if fire.get("slot") and fire["slot"] > before]
    assert after
    assert min(after) >= resumed_at
    assert by_hand in shown


def test_a_changed_interval_begins_at_once(store: Store, programs: Programs) -> None:
    programs.scheduler()
    store.schedules.put("changing", a_schedule(every=HOUR))
    eventually(lambda: store.schedules.get("changing").fire_count == 1)

    store.schedules.put("changing", a_schedule(every=400))

    eventually(lambda: store.schedules.get("changing").fire_count > 3)


def test_emptying_its_queue_does_not_stop_a_schedule(store: Store, programs: Programs) -> None:
    programs.scheduler()
    store.schedules.put("often", a_schedule(every=200))
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

    def brought() -> ScheduleView | None:
        with suppress(NotFound):  # until the worker has brought it
            return store.schedules.get("code:tick")
        return None

    view = eventually(brought, until=lambda view: view is not None and view.state == "finished")
    assert view is not None
    ids = [fire["jobId"] for fire in view.last_fires]
    eventually(lambda: [store.inspection.get(job_id).state for job_id in ids] == [State.COMPLETED] * 4)
    assert {store.inspection.get(job_id).attempts for job_id in ids} == {2}
