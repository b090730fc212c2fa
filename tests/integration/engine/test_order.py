"""In which order jobs start, and that no short job waits behind a long one."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.integration.engine.stage import Stage, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.local.server import EmbeddedServer


@pytest.fixture(scope="module")
def single(server: EmbeddedServer, pool: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage with one worker of one slot."""
    with Stage(server.url, f"engine-{uuid4().hex[:8]}", tmp_path_factory.mktemp("single")) as stage:
        stage.worker(pool=pool, concurrency=1)
        yield stage


def started(stage: Stage, ids: list[str]) -> list[str]:
    """The ids in the order in which their jobs began, once all have ended."""
    for job_id in ids:
        stage.result(job_id)
    return [run.job_id for run in stage.runs() if run.job_id in ids]


def test_first_in_first_out(single: Stage) -> None:
    ids = single.submit_many("echo", [{"n": n} for n in range(200)])

    for job_id in ids:
        single.result(job_id)
    single.kept_the_order(ids)


def test_the_smaller_priority_number_runs_first_and_equals_in_their_order(single: Stage) -> None:
    single.store.queues.pause("ranked")
    ids = [single.submit("echo", queue="ranked", priority=priority) for priority in (3, 1, 2, 1, 0)]

    single.store.queues.resume("ranked")

    three, first_one, two, second_one, zero = ids
    assert started(single, ids) == [zero, first_one, second_one, two, three]


def test_last_in_first_out_for_those_that_ask_for_it(single: Stage) -> None:
    single.store.queues.pause("stacked")
    first = single.submit("echo", queue="stacked")
    second = single.submit("echo", queue="stacked")
    third = single.submit("echo", queue="stacked", lifo=True)
    fourth = single.submit("echo", queue="stacked", lifo=True)

    single.store.queues.resume("stacked")

    assert started(single, [first, second, third, fourth]) == [fourth, third, first, second]


def test_jobs_that_become_due_together_keep_their_order(single: Stage) -> None:
    ids = single.submit_many("echo", [{"delay": 300} for _ in range(50)])

    for job_id in ids:
        single.result(job_id)
    single.kept_the_order(ids)


def test_queues_take_turns(single: Stage) -> None:
    single.result(single.submit("nap", seconds=0.3))  # a worker whose jobs are not short claims one for each slot
    held = single.submit("wait", **{"for": "turns"})
    single.began(held)
    full = single.submit_many("echo", [{} for _ in range(40)], queue="full")
    few = single.submit("echo", queue="few")

    single.let("turns")

    assert started(single, [*full, few]).index(few) <= 2


def test_no_short_job_waits_behind_a_long_one(pair: Stage) -> None:
    """Very short jobs are claimed ahead and travel several in a message; long ones among them must not hold them up."""
    for job_id in pair.submit_many("echo", [{} for _ in range(600)]):  # now the workers know that jobs are short
        pair.result(job_id)

    mixed = [pair.submit("wait" if n % 100 == 50 else "echo", **{"for": "long-enough"}) for n in range(300)]
    long = mixed[50::100]

    for job_id in mixed:  # the short ones end while the long ones still run
        if job_id not in long:
            pair.result(job_id)
    eventually(lambda: [pair.job(job_id).state for job_id in long] == ["active"] * 3)  # one may be on its way elsewhere
    pair.let("long-enough")
    for job_id in long:
        pair.result(job_id)
    runs = [run.job_id for run in pair.runs() if run.job_id in set(mixed)]
    assert sorted(runs) == sorted(mixed)
    assert all(pair.job(job_id).stalled == 0 for job_id in mixed)


def test_short_jobs_are_over_while_a_long_one_of_their_message_runs(pair: Stage) -> None:
    for job_id in pair.submit_many("echo", [{} for _ in range(600)]):  # now the workers know that jobs are short
        pair.result(job_id)

    jobs = [pair.a_job("wait" if n % 100 == 50 else "echo", **{"for": "so-long"}) for n in range(300)]
    pair.store.submission.submit(jobs)
    long = [job.id for job in jobs[50::100]]

    for job in jobs:
        if job.id not in long:
            pair.result(job.id)
    eventually(lambda: [pair.job(job_id).state for job_id in long] == ["active"] * 3)  # one may be on its way elsewhere
    pair.let("so-long")
    for job_id in long:
        pair.result(job_id)
    runs = [run.job_id for run in pair.runs() if run.job_id in {job.id for job in jobs}]
    assert sorted(runs) == sorted(job.id for job in jobs)


def test_long_jobs_find_every_free_slot(pair: Stage) -> None:
    for job_id in pair.submit_many("echo", [{} for _ in range(600)]):
        pair.result(job_id)

    ids = pair.submit_many("wait", [{"for": "spread"} for _ in range(10)])

    eventually(lambda: [len(pair.runs(job_id)) for job_id in ids] == [1] * 10)
    assert len({pair.job(job_id).worker for job_id in ids}) == 2
    pair.let("spread")
    for job_id in ids:
        pair.result(job_id)
