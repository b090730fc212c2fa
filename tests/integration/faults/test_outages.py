"""The store goes away and comes back, and connections break in every way."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import pytest

from backroom.local.server import EmbeddedServer
from backroom.model.errors import StoreUnavailable
from backroom.model.states import State
from backroom.store import Store, connect
from tests.integration.engine.conftest import POOLS
from tests.integration.engine.stage import Stage, eventually
from tests.integration.faults.counting import all_completed, each_ran_once
from tests.integration.faults.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Load(threading.Thread):
    """Submits very short jobs, a few at a time, until told to stop; keeps the ids of those that the store has taken."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(name="load")
        self._stage, self._stopped = stage, threading.Event()
        self._redis = connect(stage.server_url, timeout=1)
        self._store = Store(self._redis, settings=stage.settings)
        #: Answered by the store.
        self.taken: list[str] = []
        #: Not answered: each may have been stored or not.
        self.unknown: list[str] = []
        self.refused = 0

    def run(self) -> None:
        while not self._stopped.wait(0.04):
            jobs = [self._stage.a_job("echo") for _ in range(10)]
            ids = [job.id for job in jobs]
            try:
                self._store.submission.submit(jobs)
            except StoreUnavailable:
                self.unknown += ids
                self.refused += 1
            else:
                self.taken += ids

    def __enter__(self) -> Self:
        self.start()
        eventually(lambda: len(self.taken) > 100)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()
        self._redis.close()

    def goes_on(self) -> None:
        """Wait until more jobs are taken."""
        before = len(self.taken)
        eventually(lambda: len(self.taken) > before + 100)

    def count(self) -> None:
        """Wait until every job that was taken is completed, and check that each was done once."""
        stage = self._stage
        stored = [job_id for job_id in self.unknown if stage.store.inspection.record(job_id)]
        ids = [*self.taken, *stored]
        all_completed(stage, ids)
        each_ran_once(stage, ids)


@pytest.fixture(params=["everysec", pytest.param("always", marks=pytest.mark.slow)])
def breakable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server with an append-only file of each kind, to be killed."""
    with EmbeddedServer(tmp_path_factory.mktemp("own"), appendonly=True, fsync=request.param) as server:
        yield server


def test_a_store_that_is_killed_under_load_loses_nothing_it_has_answered(
    breakable: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is away for longer than a lease: nobody could renew, and yet nobody loses a job."""
    with Stage(breakable.url, "faults", tmp_path_factory.mktemp("stage")) as stage:
        stage.workers(*POOLS)
        stage.scheduler()
        long = [stage.submit("wait", queue="long", **{"for": "go"}) for _ in range(2)]
        for job_id in long:
            stage.began(job_id)
        with Load(stage) as load:
            for _ in range(2):
                load.goes_on()
                breakable.kill()
                refused = load.refused
                gone_at = time.monotonic()
                eventually(lambda: time.monotonic() > gone_at + 1.5 * stage.settings.lease_seconds)  # noqa: B023 - now
                assert load.refused > refused
                breakable.start()
                load.goes_on()
        stage.let("go")
        load.count()
        all_completed(stage, long)
        each_ran_once(stage, long)
        assert all(process.runs for process in stage.processes)


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
    with Stage(proxy.url, f"faults-{uuid4().hex[:8]}", folder, redis_timeout_seconds=0.5) as stage:
        stage.connect(tcp_server.url)
        stage.workers(*POOLS)
        yield stage


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
    _wait(5)
    server.resume()


def _wait(seconds: float) -> None:
    """Let time pass: that is what these faults consist of."""
    threading.Event().wait(seconds)


@pytest.mark.parametrize("fault", [_cut, _stall, _stall_and_cut, _halve, _kill_every_client, _freeze])
def test_broken_connections_heal_without_losing_or_doubling_a_job(
    behind: Stage, proxy: Proxy, tcp_server: EmbeddedServer, fault: Callable[[Proxy, EmbeddedServer], None]
) -> None:
    name = f"go-{uuid4().hex[:8]}"
    long = [behind.submit("wait", queue="long", **{"for": name}) for _ in range(2)]
    for job_id in long:
        behind.began(job_id)
    with Load(behind) as load:
        for _ in range(3 if fault is not _freeze else 1):
            fault(proxy, tcp_server)
            load.goes_on()
        cancelled = behind.submit("wait", how="talking", queue="long", **{"for": "never"})
        behind.began(cancelled)
        behind.store.actions.cancel(cancelled)
        eventually(lambda: behind.job(cancelled).state is State.CANCELLED)
    behind.let(name)
    load.count()
    all_completed(behind, long)
    each_ran_once(behind, long)
    assert all(process.runs for process in behind.processes)


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


def test_a_full_store_takes_no_new_jobs_and_finishes_those_it_has(own_server: EmbeddedServer, own_stage: Stage) -> None:
    stage = own_stage
    stage.workers(*POOLS)
    running = [stage.submit("wait", queue="long", **{"for": "go"}) for _ in range(2)]
    for job_id in running:
        stage.began(job_id)
    waiting = stage.submit_many("echo", [{} for _ in range(500)], queue="full")
    stage.store.redis.config_set("maxmemory", "1mb")  # less than it holds

    with pytest.raises(StoreUnavailable, match="memory"):
        stage.submit("echo")
    stage.let("go")
    all_completed(stage, [*running, *waiting])
    each_ran_once(stage, [*running, *waiting])
    assert len(stage.store.workers.list()) == 2

    stage.store.redis.config_set("maxmemory", "0")
    stage.result(stage.submit("echo"))
