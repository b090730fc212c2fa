"""The store has reached its memory limit: nothing new, and everything else goes on."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from backroom.local.server import EmbeddedServer
from backroom.model.schedule import parse_schedule
from backroom.model.states import State
from tests.integration.api.service import Api, problem
from tests.integration.engine.conftest import POOLS
from tests.integration.engine.stage import Stage, eventually
from tests.integration.faults.counting import all_completed, each_ran_once
from tests.integration.faults.crowd import Crowd

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 1_048_576


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Api]]:
    """A worker of each pool, a scheduler and an API on a server of their own."""
    folder = tmp_path_factory.mktemp("full")
    with (
        EmbeddedServer(folder / "server") as server,
        Stage(server.url, "full", folder / "stage", events_max=1_000_000) as stage,
        Api(folder, server.url, "full") as api,
    ):
        stage.workers(*POOLS)
        stage.scheduler()
        yield stage, api


@pytest.fixture
def stage(working: tuple[Stage, Api]) -> Iterator[Stage]:
    """The stage; its store is as large as it likes again after the test."""
    yield working[0]
    working[0].store.redis.config_set("maxmemory", "0")


@pytest.fixture
def api(working: tuple[Stage, Api]) -> Api:
    """The API on the same store."""
    return working[1]


def test_a_full_store_refuses_what_is_new_and_finishes_what_it_has(stage: Stage, api: Api) -> None:
    """Jobs of every kind: running, waiting, delayed, tried again; and a schedule, which goes on when there is room."""
    stage.store.schedules.put("often", parse_schedule({"every": 200, "misfire": "all", "job": {"name": "echo"}}))
    eventually(lambda: stage.store.schedules.get("often").fire_count)
    running = [stage.submit("wait", queue="long", **{"for": "go"}) for _ in range(2)]
    for job_id in running:
        stage.began(job_id)
    delayed = stage.submit_many("echo", [{"delay": 500} for _ in range(50)], queue="full")
    again = stage.submit("flaky", queue="full", fails=1, attempts=2, backoff=500)
    waiting = stage.submit_many("echo", [{"text": "x" * 1000} for _ in range(500)], queue="full")
    stage.store.redis.config_set("maxmemory", "1mb")  # less than it holds

    for path, body in (
        ("/v1/jobs", {"name": "echo", "data": {}}),
        ("/v1/jobs/bulk", {"jobs": [{"name": "echo", "data": {}}] * 3}),
        (f"/v1/jobs/{running[0]}/retry", None),
        ("/v1/schedules/often/run", None),
    ):
        assert "memory limit" in problem(api.post(path, body), 503, "store-full")["detail"], path
    stage.let("go")
    all_completed(stage, [*running, *waiting, *delayed], others=[again])
    assert stage.job(again).state is State.COMPLETED
    each_ran_once(stage, [*running, *waiting, *delayed])
    assert api.get("/readyz").status_code == 200
    assert len(api.get("/v1/workers").json()["workers"]) == 2
    fired = stage.store.schedules.get("often").fire_count

    stage.store.redis.config_set("maxmemory", "0")

    job_id = api.post("/v1/jobs", {"name": "echo", "data": {}}).json()["id"]
    stage.result(job_id)
    eventually(lambda: stage.store.schedules.get("often").fire_count, until=lambda now: now > fired + 5)
    stage.store.schedules.pause("often")
    view = stage.store.schedules.get("often")
    slots = [fire["slot"] for fire in view.last_fires]
    assert [earlier - later for earlier, later in pairwise(slots)] == [200] * (len(slots) - 1)
    made = [event.job_id for event in stage.everything("added") if event.queue == "default" and event.job_id != job_id]
    assert len(made) == len(set(made)) == view.fire_count
    all_completed(stage, made)


def test_a_store_that_fills_up_under_load_takes_jobs_again_as_soon_as_there_is_room(stage: Stage, api: Api) -> None:
    """Jobs that leave nothing behind make room by being done."""
    stage.store.queues.pause("filling")
    used = int(stage.store.redis.info("memory")["used_memory"])
    stage.store.redis.config_set("maxmemory", used + 6 * MEBIBYTE)
    with Crowd(api, clients=3, queue="filling", removeOnComplete=True) as crowd:
        crowd.data = {"text": "x" * 20_000}
        crowd.is_refused()
        assert all("memory limit" in detail for detail in crowd.refusals)
        held = len(crowd.taken)
        assert stage.store.queues.get("filling").counts["waiting"] >= held

        stage.store.queues.resume("filling")
        crowd.goes_on(more=200)
    assert crowd.complaints == []
    eventually(lambda: stage.store.queues.get("filling").counts, until=lambda counts: not any(counts.values()))
    each_ran_once(stage, list(crowd.taken))
    ended = [event.job_id for event in stage.everything("completed") if event.queue == "filling"]
    assert sorted(ended) == sorted(crowd.taken)
