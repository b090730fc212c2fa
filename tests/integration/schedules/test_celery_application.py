"""The periodic tasks of an existing Celery application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backroom.model.states import State
from tests.integration.schedules.programs import Programs, eventually

if TYPE_CHECKING:
    from backroom.store import Store

SHOP = "tests.integration.schedules.shop"


def keys(store: Store) -> list[str]:
    return [view.key for view in store.schedules.list()]


def test_its_entries_are_schedules_and_their_tasks_run(store: Store, programs: Programs) -> None:
    scheduler = programs.scheduler(app=SHOP, ready=False, SHOP_ENTRIES="sum nightly")
    programs.worker(app=SHOP)
    programs.until_ready(scheduler)

    view = eventually(lambda: store.schedules.get("celery:sum"), until=lambda view: view.fire_count > 1)
    job_id = view.last_fires[-1]["jobId"]
    eventually(lambda: store.inspection.states([job_id]) == [State.COMPLETED])

    job = store.inspection.get(job_id)
    assert (job.name, job.queue, job.result) == ("shop.add", "celery", 5)
    nightly = store.schedules.get("celery:nightly").spec
    assert (nightly.pattern, nightly.tz, nightly.job.data) == ("0 3 * * *", "Europe/Berlin", {"x": 1, "y": 1})


def test_what_its_configuration_drops_is_gone_and_what_people_paused_stays_so(store: Store, programs: Programs) -> None:
    programs.scheduler(app=SHOP, SHOP_ENTRIES="sum nightly").terminate()
    assert sorted(keys(store)) == ["celery:nightly", "celery:sum"]
    store.schedules.pause("celery:nightly")

    # Another application's scheduler, which has no entries, leaves them alone.
    programs.scheduler().terminate()
    assert sorted(keys(store)) == ["celery:nightly", "celery:sum"]

    programs.scheduler(app=SHOP, SHOP_ENTRIES="nightly").terminate()
    assert keys(store) == ["celery:nightly"]
    assert store.schedules.get("celery:nightly").state == "paused"


def test_what_cannot_be_kept_stops_the_start(store: Store, programs: Programs) -> None:
    scheduler = programs.scheduler(app=SHOP, ready=False, SHOP_ENTRIES="sum tidal")

    assert scheduler.wait() != 0
    assert "'tidal': a schedule of the type Tidal is not supported: use an interval or a crontab" in scheduler.log
    assert keys(store) == []
