"""Workers over HTTP: real ones, which are asked to be quiet and to stop."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from backroom.local.server import EmbeddedServer
from backroom.model.states import State
from backroom.store import WorkerView
from tests.integration.api.service import Api, problem
from tests.integration.engine.stage import Stage, eventually


@pytest.fixture(scope="module")
def stage(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(server.url, f"workers-{uuid4().hex[:8]}", tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.fixture(scope="module")
def api(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API on the store of the stage."""
    with Api(tmp_path_factory.mktemp("api"), stage.url, stage.settings.key_prefix) as api:
        yield api


def shown(api: Api, worker_id: str) -> dict[str, object]:
    """The worker as the API lists it."""
    [found] = [worker for worker in api.get("/v1/workers").json()["workers"] if worker["id"] == worker_id]
    return dict(found)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_is_asked_to_is_quiet_and_then_stops(stage: Stage, api: Api, pool: str) -> None:
    process = stage.worker(pool=pool)
    worker_id = api.get("/v1/workers").json()["workers"][0]["id"]
    running = stage.submit("wait", **{"for": f"open-{pool}"})
    stage.began(running)

    assert api.post(f"/v1/workers/{worker_id}/quiet").status_code == 202
    eventually(lambda: shown(api, worker_id)["state"] == "quiet")
    waiting = stage.submit("echo")
    stage.let(f"open-{pool}")
    eventually(lambda: stage.store.inspection.get(running).state is State.COMPLETED)
    assert stage.store.inspection.get(waiting).state is State.WAITING

    assert api.post(f"/v1/workers/{worker_id}/stop").json()["id"] == worker_id
    assert process.ended() == 0
    assert api.get("/v1/workers").json()["workers"] == []
    stage.store.actions.remove(waiting)


def test_a_worker_that_is_stopped_finishes_what_it_runs(stage: Stage, api: Api) -> None:
    process = stage.worker(pool="prefork")
    worker_id = api.get("/v1/workers").json()["workers"][0]["id"]
    running = stage.submit("wait", **{"for": "the-last"})
    stage.began(running)
    for _ in range(2):
        assert api.post(f"/v1/workers/{worker_id}/stop").status_code == 202
    eventually(lambda: shown(api, worker_id)["state"] == "stopping")
    stage.let("the-last")
    assert process.ended() == 0
    job = stage.store.inspection.get(running)
    assert (job.state, job.stalled, job.attempts_made) == (State.COMPLETED, 0, 1)


@pytest.mark.parametrize("worker", ["nobody", "worker-1@nowhere", "%00", "a%20b"])
@pytest.mark.parametrize("verb", ["quiet", "stop"])
def test_workers_that_do_not_exist(api: Api, verb: str, worker: str) -> None:
    problem(api.post(f"/v1/workers/{worker}/{verb}"), 404, "not-found")


def test_a_worker_that_did_not_hear_is_told_with_its_next_sign_of_life(stage: Stage, api: Api) -> None:
    store = stage.store
    view = WorkerView(
        id="deaf@here", host="here", pid=1, queues=None, pool="prefork", slots=1, busy=0, jobs=(), started_at=0
    )
    assert store.workers.beat(view) is None
    assert api.post("/v1/workers/deaf@here/quiet").json()["state"] == "running"
    assert [store.workers.beat(view), store.workers.beat(view)] == ["quiet", None]
    assert api.post("/v1/workers/deaf%40here/stop").status_code == 202
    store.workers.leave("deaf@here")
    assert store.workers.beat(view) is None
    store.workers.leave("deaf@here")
