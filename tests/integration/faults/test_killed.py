"""Processes that die: whole workers, and single children of a pool."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from backroom.engine.dispatch import TICK_SECONDS
from backroom.model.states import State
from tests.integration.engine.conftest import POOLS
from tests.integration.engine.stage import Stage, eventually
from tests.integration.faults.counting import all_completed, each_ran_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.local.server import EmbeddedServer


@pytest.fixture(scope="module")
def patient(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage with a prefork worker whose leases, and whose pool's own rounds, take longer than the tests.

    What comes back waits for neither.
    """
    with Stage(server.url, f"faults-{uuid4().hex[:8]}", tmp_path_factory.mktemp("patient"), lease_seconds=600) as stage:
        stage.let("pools look once an hour")
        stage.worker(pool="prefork")
        yield stage


def test_the_jobs_of_killed_workers_are_run_again_by_another(stage: Stage) -> None:
    victims = stage.workers(*POOLS)
    running = [stage.submit("wait", **{"for": "go"}) for _ in range(3)]
    forbidden = stage.submit("wait", maxStalled=0, **{"for": "never"})
    for job_id in [*running, forbidden]:
        stage.began(job_id)
    waiting = stage.submit_many("echo", [{} for _ in range(100)])
    stage.workers(*POOLS)

    for victim in victims:
        victim.kill()
    for job_id in running:
        stage.began(job_id, times=2)
    stage.let("go")

    all_completed(stage, [*running, *waiting], stalled=running, others=[forbidden])
    each_ran_once(stage, [*running, *waiting, forbidden], twice=running)
    for job_id in running:
        first, second = stage.runs(job_id)
        assert (first.end, first.attempt, second.attempt) == (None, 1, 1)
        assert second.end is not None
        assert len(stage.happened(job_id, "stalled")) == 1
        assert len(stage.happened(job_id, "completed")) == 1
        assert [entry["outcome"] for entry in stage.job(job_id).attempt_log] == ["stalled", "completed"]
    job = stage.job(forbidden)
    assert (job.state, job.stalled) == (State.FAILED, 1)
    assert job.error is not None
    assert job.error["message"].startswith("job stalled more than 0 times: the lease of ")


def test_a_load_survives_workers_that_are_killed_one_after_the_other(stage: Stage) -> None:
    *victims, _ = stage.workers(*POOLS, "threads")
    ids = stage.submit_many("nap", [{"seconds": 0.01} for _ in range(600)])
    for number, victim in enumerate(victims, 1):
        eventually(lambda: len(stage.runs()), until=lambda ran, most=100 * number: ran > most)
        victim.kill()

    eventually(lambda: stage.store.queues.get("default").counts["completed"], until=lambda done: done == len(ids))
    for job_id in ids:
        job = stage.job(job_id)
        assert (job.state, job.attempts_made) == (State.COMPLETED, 1)
        # A run whose end the store did not hear of is repeated, and no other.
        assert len(stage.runs(job_id)) <= 1 + job.stalled


def test_the_job_of_a_killed_child_is_run_again_at_once_and_the_worker_lives(patient: Stage) -> None:
    running = [patient.submit("wait", **{"for": "go"}) for _ in range(2)]
    for job_id in running:
        patient.began(job_id)
    waiting = patient.submit_many("echo", [{} for _ in range(20)])
    [run] = patient.runs(running[0])

    os.kill(run.pid, signal.SIGKILL)

    patient.began(running[0], times=2)
    assert patient.runs(waiting[0]) == []  # it was first in line
    patient.let("go")
    all_completed(patient, [*running, *waiting], stalled=running[:1])
    each_ran_once(patient, [*running, *waiting], twice=running[:1])
    assert patient.first.runs
    eventually(lambda: len(patient.first.children()) == 2)


def test_children_killed_one_after_the_other_are_noticed_at_once(patient: Stage) -> None:
    """Not merely when the pool looks after its processes, every five seconds: this one's would look in an hour."""
    assert TICK_SECONDS < 1, "what notices them looks several times a second"
    for number in range(9):
        job_id = patient.submit("wait", **{"for": f"again-{number}"})
        [run] = patient.began(job_id)
        os.kill(run.pid, signal.SIGKILL)
        patient.wait_for(lambda event, it=job_id: (event.job_id, event.type) == (it, "stalled"))
        patient.began(job_id, times=2)
        patient.let(f"again-{number}")
        all_completed(patient, [job_id], stalled=[job_id])


def test_a_child_that_is_terminated_from_outside_loses_its_job_but_no_attempt(patient: Stage) -> None:
    job_id = patient.submit("wait", **{"for": "terminated"})
    [run] = patient.began(job_id)

    os.kill(run.pid, signal.SIGTERM)

    patient.began(job_id, times=2)
    patient.let("terminated")
    all_completed(patient, [job_id], stalled=[job_id])


def test_an_idle_child_that_is_killed_is_replaced(patient: Stage) -> None:
    child = patient.first.children()[0]

    os.kill(child, signal.SIGKILL)

    job_id = patient.submit("echo")
    patient.result(job_id)
    each_ran_once(patient, [job_id])
    assert patient.job(job_id).stalled == 0


def test_a_poison_job_ends_and_does_no_harm_to_those_it_travels_with(patient: Stage) -> None:
    """Very short jobs travel several in a message: what was done before the poison stays done, the rest is done."""
    short = patient.submit_many("echo", [{} for _ in range(600)])
    all_completed(patient, short)  # now the worker knows that jobs are short

    ids: list[str] = []
    poison = []
    for _ in range(3):
        ids += patient.submit_many("echo", [{} for _ in range(100)])
        poison.append(patient.submit("die"))
    ids += patient.submit_many("echo", [{} for _ in range(100)])

    all_completed(patient, ids)
    each_ran_once(patient, ids)
    for job_id in poison:
        job = patient.finished(job_id)
        assert (job.state, job.stalled, len(patient.runs(job_id))) == (State.FAILED, 2, 2)
        assert job.error is not None
        assert job.error["type"] == "Stalled"
        assert "died" in job.error["message"]
    assert patient.first.runs
    eventually(lambda: len(patient.first.children()) == 2)


def test_poison_among_several_workers_takes_no_pool_down_and_no_other_job(stage: Stage) -> None:
    """Each poison kills a child twice, in whichever pool; the jobs beside it lose a run at most, and no attempt."""
    workers = stage.workers("prefork", "prefork", concurrency=3)
    ids = stage.submit_many("nap", [{"seconds": 0.02} for _ in range(200)])
    poison = [stage.submit("die", priority=0, lifo=True, maxStalled=1) for _ in range(6)]
    harmless = stage.submit_many("echo", [{} for _ in range(100)])

    all_completed(stage, [*ids, *harmless])
    each_ran_once(stage, [*ids, *harmless])
    for job_id in poison:
        job = stage.finished(job_id)
        assert (job.state, job.stalled, job.attempts_made, len(stage.runs(job_id))) == (State.FAILED, 2, 0, 2)
        assert job.error is not None
        assert job.error["message"].startswith("job stalled more than 1 times: ")
    eventually(lambda: all(worker.runs and len(worker.children()) == 3 for worker in workers))
    both = [stage.submit("wait", **{"for": "both"}) for _ in range(6)]  # every slot works
    for job_id in both:
        stage.began(job_id)
    stage.let("both")
    all_completed(stage, both)


def test_a_poison_job_that_kills_whole_workers_ends_too(stage: Stage) -> None:
    workers = stage.workers("threads", "threads")

    job_id = stage.submit("die")
    codes = [worker.ended() for worker in workers]
    stage.worker(pool="threads")

    job = stage.finished(job_id)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL]
    assert (job.state, job.stalled) == (State.FAILED, 2)
    assert stage.result(stage.submit("echo")) == {}


def test_children_of_a_worker_that_dies_end_by_themselves(stage: Stage) -> None:
    worker = stage.worker(pool="prefork")
    job_id = stage.submit("wait", how="stubborn", **{"for": "never"})
    stage.began(job_id)
    children = worker.children()

    worker.send(signal.SIGKILL)

    worker.ended()
    eventually(lambda: [pid for pid in children if _lives(pid)], until=lambda left: not left)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
