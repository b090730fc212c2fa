"""A job's way through the containers, seen by a client that speaks HTTP and nothing else."""

from collections import Counter

import pytest

from tests.compose.stack import Stack, eventually

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]


def test_a_job_can_be_posted_as_soon_as_compose_says_that_all_is_up(stack: Stack) -> None:
    assert stack.first_answer.status_code == 202, stack.first_answer.text


def test_a_posted_job_is_done_and_its_result_can_be_read(stack: Stack) -> None:
    posted = stack.call("POST", "/jobs/enqueue", {"userId": "u1", "payload": {"rounds": 5, "colour": "blue"}})
    assert posted.status_code == 202, posted.text
    job = stack.finished(posted.json()["id"])
    assert job["state"] == "completed"
    assert (job["name"], job["attemptsMade"], job["stalled"]) == ("heavy-task", 1, 0)
    assert job["data"] == {"userId": "u1", "payload": {"rounds": 5, "colour": "blue"}}
    assert job["result"]["userId"] == "u1"
    assert stack.get(f"/v1/jobs/{job['id']}/result") == job["result"]
    messages = [line["message"] for line in stack.get(f"/v1/jobs/{job['id']}/logs")["logs"]]
    assert [message.partition(":")[0] for message in messages] == ["started", "finished"]


def test_three_workers_do_every_job_exactly_once(stack: Stack) -> None:
    stack.up("worker", scale={"worker": 3})
    hosts = {container["Config"]["Hostname"] for container in stack.containers("worker")}
    assert len(hosts) == 3

    jobs = 600  # so long that a worker that stands still for some seconds takes its share as well
    ids = stack.submit(
        [
            {"name": "heavy-task", "queue": "scaled", "data": {"userId": f"u{i}", "payload": {"rounds": 60}}}
            for i in range(jobs)
        ]
    )
    assert len(set(ids)) == jobs
    assert stack.drained("scaled", jobs)["completed"] == jobs

    # Three witnesses: the record of each job, what its code wrote to its log, and the counters in Redis.
    done_by: Counter[str] = Counter()
    for number, job_id in enumerate(ids):
        job = stack.get(f"/v1/jobs/{job_id}")
        assert job["state"] == "completed"
        assert (job["attemptsMade"], job["stalled"]) == (1, 0)
        assert job["result"]["userId"] == f"u{number}"
        assert [attempt["outcome"] for attempt in job["attemptLog"]] == ["completed"]
        messages = [line["message"].partition(":")[0] for line in stack.get(f"/v1/jobs/{job_id}/logs")["logs"]]
        assert messages == ["started", "finished"]
        done_by[job["worker"].rpartition("@")[2]] += 1
    for counter in ("submitted", "started", "finished"):
        query = f'sum(backroom_jobs_{counter}_total{{queue="scaled"}})'
        assert eventually(lambda query=query: stack.query(query), until=lambda seen: seen == jobs) == jobs
    assert set(done_by) == hosts, f"every worker takes its share: {done_by}"
