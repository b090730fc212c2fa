"""The store goes away and comes back, and connections break in every way."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal
from uuid import uuid4

import pytest

from backroom.local.server import EmbeddedServer
from backroom.model.states import State
from backroom.store import connect
from tests.integration.api.service import Api, problem
from tests.integration.engine.conftest import POOLS
from tests.integration.engine.stage import LEASE_SECONDS, PATIENCE, Stage, eventually
from tests.integration.faults.counting import all_completed, each_ran_once, unfinished
from tests.integration.faults.crowd import Crowd
from tests.integration.faults.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


#: All that broke works again after so many seconds: what docs/guarantees.md promises.
HEALS_WITHIN: Final = 10.0
#: A store that syncs each second writes what it answers at once, or after so many seconds if the disk is busy.
UNDONE_SECONDS: Final = 3.0


@pytest.fixture(params=["always", pytest.param("everysec", marks=pytest.mark.slow)])
def policy(request: pytest.FixtureRequest) -> str:
    """When the store writes its append-only file to the disk."""
    return str(request.param)


@pytest.fixture
def breakable(
    policy: Literal["always", "everysec"], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedServer]:
    """A server with such a file, to be killed."""
    with EmbeddedServer(tmp_path_factory.mktemp("own"), appendonly=True, fsync=policy) as server:
        yield server


def test_a_store_that_is_killed_under_a_load_over_http_keeps_what_it_has_promised(
    breakable: EmbeddedServer, policy: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Once it is away for longer than a lease: nobody could renew, and yet nobody loses a job."""
    folder, kills = tmp_path_factory.mktemp("stage"), list[float]()
    with Stage(breakable.url, "faults", folder, events_max=1_000_000) as stage:
        stage.workers(*POOLS)
        stage.scheduler()
        long = [stage.submit("wait", queue="long", **{"for": "go"}) for _ in range(2)]
        for job_id in long:
            stage.began(job_id)
        with Api(folder, breakable.url, "faults", BACKROOM_REDIS_TIMEOUT_SECONDS="1") as api:
            with Crowd(api) as crowd:
                for leases in (1.5, 0):
                    crowd.goes_on(more=1000)
                    breakable.kill()
                    kills.append(time.time())
                    crowd.is_refused()
                    assert "store" in problem(api.get("/readyz"), 503, "store-unavailable")["detail"]
                    _wait(leases * stage.settings.lease_seconds)
                    breakable.start()
                    crowd.goes_on(more=200, within=HEALS_WITHIN)
            assert crowd.complaints == []
            stage.let("go")
            eventually(lambda: unfinished(stage), until=lambda number: number == 0)
            undone = check(stage, crowd, kills if policy == "everysec" else [])
            if policy == "always":
                assert undone == set()
        each_ran_once(stage, long)
        assert {stage.job(job_id).state for job_id in long} == {State.COMPLETED}
        assert all(process.runs for process in stage.processes)


def check(stage: Stage, crowd: Crowd, kills: Sequence[float] = ()) -> set[str]:
    """Every job that was taken is completed, once, and no other ever began.

    But for what a store that syncs each second may forget when it is killed: what it answered while the disk was at
    work, in the last seconds before. Returns the jobs of which it forgot something.
    """
    jobs, runs = (
        {job_id: stage.store.inspection.record(job_id) for job_id in crowd.taken},
        Counter(run.job_id for run in stage.runs()),
    )
    ends = Counter(event.job_id for event in stage.everything("completed"))
    assert {job_id for job_id, number in ends.items() if number > 1} == set()
    assert stage.everything("failed", "stalled") == []
    odd = {job_id for job_id, job in jobs.items() if job is None or runs[job_id] != 1 or not ends[job_id]}
    for job_id in odd:
        times = [crowd.taken[job_id], *(at for run in stage.runs(job_id)[:-1] for at in (run.begin, run.end) if at)]
        assert any(0 < kill - at < UNDONE_SECONDS for kill in kills for at in times), (
            job_id,
            jobs[job_id],
            times,
            kills,
        )
    return odd


@pytest.fixture(scope="module")
def tcp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server on a port, for tests that put something in front of it or freeze it."""
    with EmbeddedServer(tmp_path_factory.mktemp("tcp"), appendonly=False) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(tcp_server: EmbeddedServer) -> Iterator[Proxy]:
    """What stands between the workers and the store."""
    assert tcp_server.port is not None
    with Proxy(tcp_server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def behind(proxy: Proxy, tcp_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage whose workers, one of each pool, reach the store through the proxy; the test looks at it directly."""
    folder = tmp_path_factory.mktemp("behind")
    prefix = f"faults-{uuid4().hex[:8]}"
    with Stage(proxy.url, prefix, folder, redis_timeout_seconds=0.5, events_max=1_000_000) as stage:
        stage.connect(tcp_server.url)
        stage.workers(*POOLS)
        yield stage


@pytest.fixture(scope="module")
def front(behind: Stage) -> Iterator[Api]:
    """An API that reaches the store through the same proxy."""
    with Api(behind.folder, behind.url, behind.settings.key_prefix, BACKROOM_REDIS_TIMEOUT_SECONDS="0.5") as api:
        yield api


def _cut(proxy: Proxy, _: EmbeddedServer) -> None:
    proxy.cut()


def _stall(proxy: Proxy, _: EmbeddedServer) -> None:
    proxy.stall()
    _wait(1.5)
    proxy.flow()


def _stall_and_cut(proxy: Proxy, _: EmbeddedServer) -> None:
    proxy.stall()
    _wait(0.7)
    proxy.cut()
    proxy.flow()


def _halve(proxy: Proxy, _: EmbeddedServer) -> None:
    proxy.halve()
    _wait(0.5)
    proxy.heal()


def _kill_every_client(_: Proxy, server: EmbeddedServer) -> None:
    redis = connect(server.url)
    for kind in ("normal", "pubsub"):
        redis.client_kill_filter(_type=kind, skipme=True)
    redis.close()


def _freeze(_: Proxy, server: EmbeddedServer) -> None:
    server.pause()
    _wait(LEASE_SECONDS + 1)
    server.resume()


def _wait(seconds: float) -> None:
    """Let time pass: that is what these faults consist of."""
    threading.Event().wait(seconds)


@pytest.mark.parametrize("fault", [_cut, _stall, _stall_and_cut, _halve, _kill_every_client, _freeze])
def test_broken_connections_heal_without_losing_or_doubling_a_job(
    behind: Stage, front: Api, proxy: Proxy, tcp_server: EmbeddedServer, fault: Callable[[Proxy, EmbeddedServer], None]
) -> None:
    """Clients, workers and a job that is to be cancelled: all go on soon after."""
    name = f"go-{uuid4().hex[:8]}"
    long = [behind.submit("wait", queue="long", **{"for": name}) for _ in range(2)]
    for job_id in long:
        behind.began(job_id)
    with Crowd(front, name="echo", clients=3) as crowd:
        crowd.goes_on()
        for _ in range(3 if fault is not _freeze else 1):
            fault(proxy, tcp_server)
            after = behind.submit("echo")
            crowd.goes_on(within=HEALS_WITHIN)
            eventually(lambda after=after: behind.runs(after), within=HEALS_WITHIN)
        cancelled = behind.submit("wait", how="talking", queue="long", **{"for": "never"})
        behind.began(cancelled)
        assert front.post(f"/v1/jobs/{cancelled}/cancel").status_code == 202
        eventually(lambda: behind.job(cancelled).state is State.CANCELLED)
    assert crowd.complaints == []
    behind.let(name)
    all_completed(behind, [*crowd.taken, *long])
    each_ran_once(behind, [*crowd.taken, *long])
    assert all(process.runs for process in behind.processes)


def test_wake_ups_that_are_stolen_are_made_up_for(stage: Stage, pool: str) -> None:
    """The thief sleeps on the same key, in front of the worker."""
    with ThreadPoolExecutor() as threads:
        thief = threads.submit(_steal, stage.url, stage.store.keys.wake())  # patient: the worker takes time to start
        eventually(lambda: any("bzpopmin" in client["cmd"] for client in stage.store.redis.client_list()))
        stage.worker(pool=pool)
        job_id = stage.submit("echo")

        assert thief.result(PATIENCE)
    eventually(lambda: stage.runs(job_id), within=HEALS_WITHIN)
    all_completed(stage, [job_id])


def _steal(url: str, key: str) -> object:
    with connect(url, timeout=None) as redis:
        return redis.bzpopmin(key, timeout=PATIENCE)


def test_a_store_that_comes_late_is_waited_for(own_server: EmbeddedServer, own_stage: Stage, pool: str) -> None:
    own_server.kill()
    worker = own_stage.worker(pool=pool, wait=False)
    eventually(lambda: "away" in worker.output)

    own_server.start()

    own_stage.wait_for_worker(worker)
    own_stage.result(own_stage.submit("echo"))


def test_what_a_job_says_during_an_outage_is_reported_after_it(own_server: EmbeddedServer, own_stage: Stage) -> None:
    own_stage.worker(pool="threads")
    job_id = own_stage.submit("log", text="words", after="outage", **{"for": "heard"})
    own_stage.began(job_id)
    own_server.kill()
    own_stage.let("outage")
    eventually(lambda: own_stage.noted(job_id, "said"))
    own_server.start()

    lines = eventually(lambda: own_stage.store.inspection.logs(job_id).logs)

    assert lines[0].message == "logged words"
    own_stage.let("heard")
    own_stage.result(job_id)
