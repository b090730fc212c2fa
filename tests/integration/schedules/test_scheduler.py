"""The scheduler as a process: outages, signals, and its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.job import new_job
from backroom.model.options import parse_options
from backroom.model.schedule import parse_schedule
from backroom.model.states import State
from backroom.store import Store, connect
from tests.integration.schedules.programs import Programs, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backroom.local.server import EmbeddedServer

OFTEN = parse_schedule({"every": 300, "misfire": "all", "job": {"name": "noop"}})


@pytest.fixture
def store(own_server: EmbeddedServer) -> Iterator[Store]:
    """A store on a server of the test's own."""
    client = connect(own_server.url, timeout=10)
    yield Store(client, prefix="scheduler")
    client.close()


@pytest.fixture
def programs(store: Store, own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Programs]:
    """Starts processes on that server."""
    programs = Programs(store, own_server.url, tmp_path)
    yield programs
    programs.end()


def fires(store: Store) -> int:
    return store.schedules.get("often").fire_count


def test_it_ends_at_once_and_says_goodbye(store: Store, programs: Programs) -> None:
    scheduler = programs.scheduler()
    assert len(store.workers.scheduler_ticks()) == 1

    assert scheduler.terminate() == 0

    assert store.workers.scheduler_ticks() == {}
    assert "Traceback" not in scheduler.log


def test_it_ends_while_the_store_is_away(store: Store, programs: Programs, own_server: EmbeddedServer) -> None:
    scheduler = programs.scheduler()
    own_server.kill()
    eventually(lambda: "the job store is away" in scheduler.log)

    assert scheduler.terminate() == 0
    assert "Traceback" not in scheduler.log


def test_it_ends_while_the_store_is_frozen(store: Store, programs: Programs, own_server: EmbeddedServer) -> None:
    scheduler = programs.scheduler()
    own_server.pause()

    assert scheduler.terminate() == 0


def test_it_goes_on_after_an_outage(store: Store, programs: Programs, own_server: EmbeddedServer) -> None:
    scheduler = programs.scheduler()
    store.schedules.put("often", OFTEN)
    eventually(lambda: fires(store) > 1)

    own_server.kill()
    eventually(lambda: "the job store is away" in scheduler.log)
    own_server.start()
    before = fires(store)
    eventually(lambda: fires(store) > before + 1)

    eventually(lambda: "the job store is back" in scheduler.log)
    assert scheduler.log.count("the job store is away") == 1


def test_it_goes_on_after_the_store_was_frozen(store: Store, programs: Programs, own_server: EmbeddedServer) -> None:
    scheduler = programs.scheduler(BACKROOM_REDIS_TIMEOUT_SECONDS="0.5")
    store.schedules.put("often", OFTEN)
    eventually(lambda: fires(store) > 1)

    own_server.pause()
    eventually(lambda: "the job store is away" in scheduler.log)
    own_server.resume()

    before = fires(store)
    eventually(lambda: fires(store) > before + 1)


def test_it_can_be_started_before_the_store(store: Store, programs: Programs, own_server: EmbeddedServer) -> None:
    own_server.stop()
    scheduler = programs.scheduler(ready=False)
    eventually(lambda: "the job store is away" in scheduler.log)

    own_server.start()

    programs.until_ready(scheduler)


def test_cut_connections_heal(store: Store, programs: Programs) -> None:
    programs.scheduler()
    store.schedules.put("often", OFTEN)
    for _ in range(3):
        before = fires(store)
        store.redis.client_kill_filter(_type="normal", skipme=True)
        eventually(lambda before=before: fires(store) > before)


def test_a_full_store_stops_no_promotion(store: Store, programs: Programs, own_server: EmbeddedServer) -> None:
    store.schedules.put("often", OFTEN)
    scheduler = programs.scheduler()
    eventually(lambda: fires(store) > 0)
    store.redis.config_set("maxmemory", "1mb")
    eventually(lambda: "the job store is full" in scheduler.log)
    assert "memory limit" in scheduler.log
    tick = max(store.workers.scheduler_ticks().values())

    eventually(lambda: max(store.workers.scheduler_ticks().values()) > tick + 2)
    store.redis.config_set("maxmemory", "0")

    before = fires(store)
    eventually(lambda: fires(store) > before)


def test_a_full_store_that_cannot_take_the_entries_of_an_application_has_its_jobs_promoted(
    store: Store, programs: Programs
) -> None:
    job = new_job(name="noop", queue="default", data={}, options=parse_options({"delay": 100}))
    store.submission.submit([job])
    store.redis.config_set("maxmemory", "1mb")

    scheduler = programs.scheduler(app="tests.integration.schedules.shop", ready=False, SHOP_ENTRIES="nightly")

    eventually(lambda: "memory limit" in scheduler.log)
    eventually(lambda: store.inspection.states([job.id]) == [State.WAITING])
    assert store.schedules.list() == []
    store.redis.config_set("maxmemory", "0")
    eventually(store.schedules.list)
