"""Jobs that are stopped, run too long, or are kept for a while."""

from __future__ import annotations

import pytest

from tests.integration.api.service import problem
from tests.integration.behaviour.stack import Stack, milliseconds
from tests.integration.engine.conftest import POOLS
from tests.integration.engine.stage import eventually


def started_in(stack: Stack, pool: str, name: str, data: object, **options: object) -> str:
    """The id of a job that runs in a worker of this pool."""
    other = {"prefork": "threads", "threads": "prefork"}[pool]
    job = stack.running(stack.submit(name, data, queue=f"not-in-{other}", **options)["id"])
    workers = {view["id"]: view["pool"] for view in stack.api.get("/v1/workers").json()["workers"]}
    assert workers[job["worker"]] == pool
    return str(job["id"])


@pytest.mark.parametrize("pool", POOLS)
def test_a_running_job_is_cancelled_within_seconds(stack: Stack, pool: str) -> None:
    job_id = started_in(stack, pool, "wait", {"for": "never", "how": "talking"})

    stack.act(job_id, "cancel", status=202)

    ended = stack.ended(job_id)
    assert (ended["state"], ended["attemptsMade"], ended["stalled"]) == ("cancelled", 1, 0)
    assert [entry["outcome"] for entry in ended["attemptLog"]] == ["cancelled"]
    assert milliseconds(ended["startedAt"], ended["finishedAt"]) < 30_000
    problem(stack.api.post(f"/v1/jobs/{ended['id']}/cancel"), 409, "wrong-state")
    problem(stack.api.get(f"/v1/jobs/{ended['id']}/result"), 409, "wrong-state")


@pytest.mark.parametrize("options", [{"delay": 60_000}, {}])
def test_a_job_that_does_not_run_is_cancelled_at_once(stack: Stack, queue: str, options: dict[str, int]) -> None:
    stack.pause(queue)
    job_id = stack.submit("echo", queue=queue, **options)["id"]

    assert stack.act(job_id, "cancel")["state"] == "cancelled"
    assert stack.counts(queue) == {"cancelled": 1}


@pytest.mark.parametrize("pool", POOLS)
def test_a_try_that_takes_too_long_is_ended_and_counts(stack: Stack, pool: str) -> None:
    job_id = started_in(stack, pool, "wait", {"for": "never", "how": "talking"}, timeout=3000)

    ended = stack.ended(job_id)

    assert (ended["state"], ended["error"]["type"]) == ("failed", "TimeLimitExceeded")
    assert [entry["outcome"] for entry in ended["attemptLog"]] == ["timeout"]
    assert milliseconds(ended["startedAt"], ended["finishedAt"]) >= 3000


def test_a_soft_time_limit_is_an_exception_in_a_process_and_nothing_to_a_thread(stack: Stack) -> None:
    child = stack.ended(started_in(stack, "prefork", "soft", {"heeds": True}))
    assert (child["state"], child["result"]) == ("completed", "in time")

    thread = stack.ended(started_in(stack, "threads", "soft", {"heeds": True}, timeout=3000))
    assert (thread["state"], thread["error"]["type"]) == ("failed", "TimeLimitExceeded")  # the hard one


def test_a_job_that_is_not_started_in_time_expires(stack: Stack, queue: str) -> None:
    stack.pause(queue)
    job_id = stack.submit("echo", queue=queue, ttl=300)["id"]

    job = stack.ended(job_id)

    assert (job["state"], job["startedAt"], job["attemptsMade"]) == ("expired", None, 0)
    assert milliseconds(job["createdAt"], job["finishedAt"]) >= 300
    stack.resume(queue)
    assert stack.ended(stack.submit("echo", queue=queue)["id"])["state"] == "completed"
    assert stack.stage.runs(job_id) == []


def test_what_is_to_leave_nothing_leaves_nothing(stack: Stack, queue: str) -> None:
    job_id = stack.submit("echo", queue=queue, removeOnComplete=True)["id"]

    eventually(lambda: stack.api.get(f"/v1/jobs/{job_id}").status_code == 404)
    assert stack.counts(queue) == {}
    assert stack.kinds(job_id)[-1] == "completed"


def test_what_a_job_wishes_to_leave_wins_over_what_its_type_does(stack: Stack, queue: str) -> None:
    by_type = stack.submit("fleeting", queue=queue)["id"]
    own = stack.submit("fleeting", queue=queue, removeOnComplete=False)["id"]

    assert stack.ended(own)["result"] == "soon gone"
    eventually(lambda: stack.api.get(f"/v1/jobs/{by_type}").status_code == 404)
    assert stack.counts(queue) == {"completed": 1}
    assert len(stack.stage.runs(by_type)) == 1


def test_a_count_keeps_the_newest(stack: Stack, queue: str) -> None:
    ids = [stack.submit("echo", queue=queue, removeOnComplete=3)["id"] for _ in range(3)]
    for job_id in ids:
        stack.ended(job_id)
    more = [stack.ended(stack.submit("echo", queue=queue, removeOnComplete=3)["id"])["id"] for _ in range(4)]

    assert stack.counts(queue) == {"completed": 3}
    assert {job["id"] for job in stack.api.get(f"/v1/jobs?queue={queue}").json()["jobs"]} == set(more[1:])


def test_an_age_is_swept_although_nothing_else_happens(stack: Stack, queue: str) -> None:
    done = stack.submit("echo", queue=queue, removeOnComplete={"age": 1})["id"]
    failed = stack.submit("doomed", queue=queue, removeOnFail={"age": 1})["id"]
    kept = stack.submit("echo", queue=queue, removeOnComplete=False)["id"]
    stack.ended(kept)

    for job_id in (done, failed):
        eventually(lambda job_id=job_id: stack.api.get(f"/v1/jobs/{job_id}").status_code == 404)
    assert stack.counts(queue) == {"completed": 1}
