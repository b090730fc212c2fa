"""Many jobs that are due in the same millisecond, and one that is not due for a year."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from backroom.model.job import format_time
from backroom.model.states import State
from backroom.store.records import from_ms
from tests.integration.engine.stage import eventually

if TYPE_CHECKING:
    from tests.integration.engine.stage import Stage

NUMBER = 10_000
YEAR = 366 * 86_400_000


def submit_for_one_ms(stage: Stage, *, ahead: int) -> tuple[list[str], int]:
    """Jobs that are due in one millisecond, ``ahead`` ms from now. Returns their ids and that ms."""
    seconds, micros = stage.store.redis.time()
    due = int(seconds) * 1000 + int(micros) // 1000 + ahead
    jobs = [stage.a_job("echo", runAt=format_time(from_ms(due))) for _ in range(NUMBER)]
    for first in range(0, NUMBER, 1000):
        stored = stage.store.submission.submit(jobs[first : first + 1000])
        assert {job.state for job in stored} == {State.DELAYED}
    return [job.id for job in jobs], due


def all_ended(stage: Stage) -> None:
    eventually(lambda: stage.store.queues.get("default").counts[State.COMPLETED], until=lambda done: done == NUMBER)


def test_ten_thousand_jobs_due_in_one_ms_start_in_the_order_in_which_they_came(stage: Stage, pool: str) -> None:
    stage.worker(pool=pool, concurrency=1)
    ids, due = submit_for_one_ms(stage, ahead=8000)
    stage.scheduler()

    all_ended(stage)

    # In the order of their first claims: a worker that holds some in hand may give them back for the next.
    assert list(dict.fromkeys(event.job_id for event in stage.everything("active"))) == ids
    runs = stage.runs()
    assert Counter(run.job_id for run in runs) == Counter(ids)
    assert min(run.begin for run in runs) >= due / 1000


def test_ten_thousand_jobs_due_in_one_ms_are_shared_by_workers_each_done_once(stage: Stage) -> None:
    stage.workers("prefork", "threads", "threads")
    ids, due = submit_for_one_ms(stage, ahead=8000)

    all_ended(stage)

    runs = stage.runs()
    assert Counter(run.job_id for run in runs) == Counter(ids)
    assert min(run.begin for run in runs) >= due / 1000
    assert len({stage.store.inspection.get(job_id).worker for job_id in ids[::50]}) > 1


@pytest.mark.parametrize("promoter", ["scheduler", "worker"])
def test_a_job_due_in_a_year_does_not_hold_one_due_in_half_a_second(stage: Stage, promoter: str) -> None:
    worker = stage.worker(pool="threads", concurrency=1)
    if promoter == "scheduler":
        stage.scheduler()
        stage.result(stage.submit("echo"))
        worker.freeze()
    far = stage.submit("echo", delay=YEAR)
    near = stage.submit("echo", delay=500)

    ready = stage.wait_for(lambda event: (event.job_id, event.type) == (near, "waiting"))
    [delayed] = stage.happened(near, "delayed")
    assert int(delayed.fields["runAt"]) <= ready.at

    worker.thaw()
    stage.result(near)
    assert stage.job(far).state is State.DELAYED
    assert stage.runs(far) == []
