"""Celery beat's scheduler class, driven by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import Celery

from backroom.engine.beat import JobScheduler
from backroom.model.schedule import parse_schedule
from backroom.model.states import State
from backroom.settings import get_settings
from backroom.store.upkeep import Swept, Upkeep
from tests.unit.store.hand import eventually, state, submit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.store import Store


@pytest.fixture
def scheduler(store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobScheduler]:
    """A scheduler that does a round when it is told to."""
    monkeypatch.setenv("BACKROOM_KEY_PREFIX", store.keys.prefix)
    get_settings.cache_clear()
    app = Celery("unit-beat", broker=f"backroom+{redis_url}", set_as_current=False)
    scheduler = JobScheduler(app, lazy=True)
    yield scheduler
    scheduler.close()
    get_settings.cache_clear()


def test_due_jobs_and_slots_come_although_a_sweep_has_much_to_do(
    store: Store, scheduler: JobScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(_: Upkeep) -> Iterator[Swept]:
        while True:
            yield Swept()

    monkeypatch.setattr(Upkeep, "steps", endless)
    job_id = submit(store, delay=1)
    store.schedules.put("once", parse_schedule({"every": 3_600_000, "job": {"name": "task"}}))

    eventually(lambda: scheduler.tick() == 0 and state(store, job_id) is State.WAITING)
    eventually(lambda: scheduler.tick() == 0 and store.schedules.get("once").fire_count == 1)
