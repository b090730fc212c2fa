"""In which order jobs of a queue start, over two workers that may run one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.behaviour.stack import Stack


@pytest.fixture
def held(stack: Stack, queue: str) -> str:
    """A paused queue that runs one job at a time."""
    stack.pause(queue)
    assert stack.api.call("PUT", f"/v1/queues/{queue}/limits", json={"concurrency": 1}).status_code == 200
    return queue


def order(stack: Stack, queue: str, ids: list[str]) -> list[str]:
    """Resume the queue; the jobs in the order in which they ended, which is that in which they began."""
    stack.resume(queue)
    for job_id in ids:
        assert stack.ended(job_id)["state"] == "completed"
    ended = [event.job_id for event in stack.stage.everything("completed") if event.job_id in ids]
    assert [run.job_id for run in stack.stage.runs() if run.job_id in ids] == ended
    return ended


def test_first_in_first_out(stack: Stack, held: str) -> None:
    ids = [stack.submit("echo", queue=held)["id"] for _ in range(10)]

    assert order(stack, held, ids) == ids


def test_a_hundred_jobs_of_one_priority_are_first_in_first_out(stack: Stack, held: str) -> None:
    job = {"name": "echo", "queue": held, "data": {}, "options": {"priority": 9}}
    ids = [each["id"] for each in stack.api.post("/v1/jobs/bulk", {"jobs": [job] * 60}).json()["jobs"]]
    ids += [stack.submit("echo", queue=held, priority=9)["id"] for _ in range(40)]

    assert order(stack, held, ids) == ids


def test_last_in_first_out_for_those_that_ask_for_it(stack: Stack, held: str) -> None:
    first, second = (stack.submit("echo", queue=held)["id"] for _ in range(2))
    third, fourth = (stack.submit("echo", queue=held, lifo=True)["id"] for _ in range(2))

    assert order(stack, held, [first, second, third, fourth]) == [fourth, third, first, second]


@pytest.mark.parametrize("lifo", [False, True])
def test_a_job_of_another_priority_goes_behind_its_new_equals_or_before_them(
    stack: Stack, held: str, *, lifo: bool
) -> None:
    equal, later = (stack.submit("echo", queue=held, priority=priority)["id"] for priority in (1, 2))
    moved = stack.submit("echo", queue=held, priority=5, lifo=lifo)["id"]
    etag = stack.api.get(f"/v1/jobs/{moved}").headers["ETag"]

    change = stack.api.call("PATCH", f"/v1/jobs/{moved}", json={"priority": 1}, headers={"If-Match": etag})

    assert change.json()["priority"] == 1
    expected = [moved, equal, later] if lifo else [equal, moved, later]
    assert order(stack, held, [equal, later, moved]) == expected
