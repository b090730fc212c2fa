"""Counting every job: none lost, none done twice unless its process or its lease was lost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from backroom.model.states import State
from tests.integration.engine.stage import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.integration.engine.stage import Stage

__all__ = ["all_completed", "each_ran_once", "unfinished"]


def all_completed(stage: Stage, ids: Sequence[str], *, stalled: Iterable[str] = (), others: Iterable[str] = ()) -> None:
    """Wait until every one of these jobs is completed, and no other than those in ``stalled`` has ever been lost.

    ``others`` end in other ways.
    """
    for job_id in others:
        stage.finished(job_id)
    queues = {stage.store.inspection.get(job_id).queue for job_id in ids}
    eventually(lambda: unfinished(stage, queues), until=lambda number: number == 0)
    jobs = {job_id: stage.store.inspection.get(job_id) for job_id in ids}
    assert Counter(job.state for job in jobs.values()) == {State.COMPLETED: len(ids)}
    assert {job_id: job.stalled for job_id, job in jobs.items() if job.stalled} == dict.fromkeys(stalled, 1)
    assert {job.attempts_made for job in jobs.values()} == {1}


def unfinished(stage: Stage, queues: Iterable[str] = ()) -> int:
    """How many jobs have not ended, in some queues or in all."""
    return sum(
        number
        for queue in queues or stage.store.queues.names()
        for state, number in stage.store.queues.get(queue).counts.items()
        if state in {State.WAITING, State.ACTIVE, State.DELAYED}
    )


def each_ran_once(stage: Stage, ids: Sequence[str], *, twice: Iterable[str] = ()) -> None:
    """No job was begun more than once, other than those in ``twice``, which were begun twice."""
    runs = Counter(run.job_id for run in stage.runs())
    assert {job_id: runs[job_id] for job_id in ids if runs[job_id] != 1} == dict.fromkeys(twice, 2)
