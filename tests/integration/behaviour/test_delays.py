"""When jobs start: never early, in order, and moved by those who may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.integration.api.service import problem
from tests.integration.behaviour.stack import Stack, milliseconds
from tests.integration.engine.stage import eventually

YEAR = 366 * 86_400_000


def test_a_delayed_job_says_when_it_is_due_and_starts_then(stack: Stack) -> None:
    submitted = stack.submit("echo", delay=4000)
    assert submitted["state"] == "delayed"
    found = stack.job(submitted["id"])
    assert found["stateReason"] == {"code": "delayed", "until": found["runAt"]}
    assert milliseconds(found["createdAt"], found["runAt"]) >= 4000

    job = stack.ended(submitted["id"])

    assert 4000 <= milliseconds(job["createdAt"], job["startedAt"]) < 4000 + 30_000
    assert job["runAt"] is None
    # Claimed once, or again after it was given back because no slot took it at once.
    kinds = stack.kinds(job["id"])
    again = ["waiting", "active"] * kinds.count("active")
    assert kinds == ["added", "delayed", *again, "completed"]


def test_a_job_may_name_the_instant_at_which_it_is_due(stack: Stack) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=4)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    submitted = stack.submit("echo", runAt=at)

    assert stack.job(submitted["id"])["runAt"] == at
    assert milliseconds(at, stack.ended(submitted["id"])["startedAt"]) >= 0


def test_a_time_that_is_over_is_now(stack: Stack) -> None:
    assert stack.submit("echo", runAt="2020-01-01T00:00:00Z")["state"] == "waiting"
    assert stack.submit("echo", delay=0)["state"] == "waiting"


def test_one_due_in_a_year_holds_up_nothing(stack: Stack, queue: str) -> None:
    far = stack.submit("echo", queue=queue, delay=YEAR)["id"]
    near = stack.submit("echo", queue=queue, delay=500)["id"]

    assert stack.ended(near)["state"] == "completed"
    assert stack.job(far)["state"] == "delayed"
    assert stack.counts(queue) == {"completed": 1, "delayed": 1}


def test_jobs_due_in_the_same_ms_start_in_their_order(stack: Stack, queue: str) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=1)).isoformat(timespec="milliseconds")
    stack.api.call("PUT", f"/v1/queues/{queue}/limits", json={"concurrency": 1})
    jobs = [{"name": "echo", "queue": queue, "data": {}, "options": {"runAt": at}} for _ in range(50)]
    ids = [job["id"] for job in stack.api.post("/v1/jobs/bulk", {"jobs": jobs}).json()["jobs"]]

    for job_id in ids:
        stack.ended(job_id)

    assert [run.job_id for run in stack.stage.runs() if run.job_id in ids] == ids


def test_a_delayed_job_is_promoted(stack: Stack) -> None:
    job_id = stack.submit("echo", delay=YEAR)["id"]

    assert stack.act(job_id, "promote", status=202)["state"] in {"waiting", "active", "completed"}

    assert stack.ended(job_id)["state"] == "completed"
    problem(stack.api.post(f"/v1/jobs/{job_id}/promote"), 409, "wrong-state")


def test_a_delayed_job_is_rescheduled_from_now(stack: Stack) -> None:
    job_id = stack.submit("echo", delay=YEAR)["id"]
    began = stack.job(job_id)["createdAt"]

    moved = stack.act(job_id, "reschedule", {"delay": 4000}, status=202)

    job = stack.ended(job_id)
    assert milliseconds(began, moved["runAt"]) >= 4000
    assert milliseconds(moved["runAt"], job["startedAt"]) >= 0
    problem(stack.api.post(f"/v1/jobs/{job_id}/reschedule", {"delay": 1}), 409, "wrong-state")


def test_a_delayed_job_is_put_off(stack: Stack) -> None:
    job_id = stack.submit("echo", delay=4000)["id"]
    later = (datetime.now(UTC) + timedelta(days=3)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    assert stack.act(job_id, "reschedule", {"runAt": later}, status=202)["runAt"] == later

    assert stack.ended(stack.submit("echo", delay=4100)["id"])["state"] == "completed"
    assert stack.job(job_id)["state"] == "delayed"


def test_a_paused_queue_promotes_and_starts_nothing(stack: Stack, queue: str) -> None:
    stack.pause(queue)
    job_id = stack.submit("echo", queue=queue, delay=200)["id"]

    eventually(lambda: stack.counts(queue) == {"waiting": 1})
    assert stack.job(job_id)["stateReason"]["code"] == "paused"
    assert stack.stage.runs(job_id) == []

    stack.resume(queue)
    assert stack.ended(job_id)["state"] == "completed"


def test_a_bulk_of_a_thousand_is_done_each_once(stack: Stack, queue: str) -> None:
    jobs = [{"name": "echo", "queue": queue, "data": {"n": n}} for n in range(1000)]
    ids = [job["id"] for job in stack.api.post("/v1/jobs/bulk", {"jobs": jobs}).json()["jobs"]]

    eventually(lambda: stack.counts(queue) == {"completed": 1000})

    runs = [run.job_id for run in stack.stage.runs() if run.job_id in set(ids)]
    assert sorted(runs) == sorted(ids)


def test_priorities_submitted_while_paused_start_in_their_order(stack: Stack, queue: str) -> None:
    stack.pause(queue)
    stack.api.call("PUT", f"/v1/queues/{queue}/limits", json={"concurrency": 1})
    ids = [stack.submit("echo", queue=queue, priority=priority)["id"] for priority in (3, 1, 2, 1, 0)]
    last = stack.submit("echo", queue=queue, priority=3)["id"]
    found = stack.api.get(f"/v1/jobs/{last}")
    change = {"priority": 1}
    patched = stack.api.call("PATCH", f"/v1/jobs/{last}", json=change, headers={"If-Match": found.headers["ETag"]})
    assert patched.status_code == 200, patched.text

    stack.resume(queue)

    for job_id in ids:
        stack.ended(job_id)
    three, first_one, two, second_one, zero = ids
    expected = [zero, first_one, second_one, last, two, three]
    assert [run.job_id for run in stack.stage.runs() if run.job_id in {*ids, last}] == expected
