"""What happens to jobs when containers stop, die and come back."""

import subprocess

import pytest

from tests.compose.stack import Stack, eventually

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]


def heavy(queue: str, jobs: int, rounds: int) -> list[dict]:
    return [
        {"name": "heavy-task", "queue": queue, "data": {"userId": f"u{i}", "payload": {"rounds": rounds}}}
        for i in range(jobs)
    ]


def crash(container: dict) -> None:
    """Kill all processes of a container at once; the first one, which no one inside may kill, ends with them."""
    program = "import os, signal; os.kill(-1, signal.SIGKILL)"
    subprocess.run(["docker", "exec", container["Id"], "python", "-c", program], capture_output=True, timeout=60)


def test_redis_can_be_replaced_and_keeps_every_job(stack: Stack) -> None:
    done = stack.submit(heavy("kept", 5, 1))
    stack.drained("kept", 5)
    later = stack.submit([job | {"options": {"delay": 3_600_000, "priority": 7}} for job in heavy("kept", 20, 1)])

    before = [stack.get(f"/v1/jobs/{job_id}") for job_id in done + later]
    # A new container on the old volume: what is left is what was on the disk.
    stack.compose("up", "--detach", "--wait", "--force-recreate", "--no-deps", "redis")
    eventually(lambda: stack.call("GET", "/readyz").ok)
    assert [stack.get(f"/v1/jobs/{job_id}") for job_id in done + later] == before

    # And the stack goes on, with the same worker and the same scheduler.
    fresh = stack.call("POST", "/jobs/enqueue", {"userId": "u1", "payload": {"rounds": 1}})
    assert fresh.status_code == 202
    assert stack.finished(fresh.json()["id"])["state"] == "completed"
    for job_id in later:
        assert stack.call("POST", f"/v1/jobs/{job_id}/cancel").status_code == 200


def test_a_restart_of_redis_under_load_loses_and_doubles_nothing(stack: Stack) -> None:
    ids = stack.submit(heavy("shaken", 100, 100))
    eventually(lambda: stack.counts("shaken")["completed"] >= 10)
    stack.compose("restart", "redis")
    eventually(lambda: stack.call("GET", "/readyz").ok)
    assert stack.drained("shaken", 100)["completed"] == 100
    for job_id in ids:
        assert stack.get(f"/v1/jobs/{job_id}")["attemptsMade"] == 1


def test_without_redis_the_api_refuses_and_recovers(stack: Stack) -> None:
    stack.compose("stop", "redis")
    try:
        refused = stack.call("POST", "/jobs/enqueue", {"userId": "u1", "payload": {}})
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
    finally:
        stack.up("redis")
    eventually(lambda: stack.call("POST", "/jobs/enqueue", {"userId": "u1", "payload": {}}).status_code == 202)


def test_stopping_the_workers_under_load_loses_nothing(stack: Stack) -> None:
    stack.up("worker", scale={"worker": 2})
    jobs = 150
    ids = stack.submit(heavy("stopped", jobs, 300))  # more than is done while this test stands still for some seconds
    eventually(lambda: stack.counts("stopped")["completed"] >= 5)
    stack.compose("stop", "worker")

    counts = stack.counts("stopped")
    assert counts["active"] == 0, "what was running is done or given back"
    assert counts["completed"] + counts["waiting"] == jobs
    assert counts["waiting"] > 0, "the stop came in the middle of the load"
    codes = stack.compose("ps", "--all", "--format", "{{.ExitCode}}", "worker").split()
    assert codes == ["0", "0"], "they went by themselves, and were not killed"

    stack.compose("start", "worker")
    assert stack.drained("stopped", jobs)["completed"] == jobs
    for job_id in ids:
        job = stack.get(f"/v1/jobs/{job_id}")
        assert (job["attemptsMade"], job["stalled"]) == (1, 0)


def test_a_killed_worker_container_comes_back_and_its_jobs_are_done(stack: Stack) -> None:
    stack.up("worker", scale={"worker": 2})
    victim = stack.containers("worker")[0]
    jobs = 120
    ids = stack.submit(heavy("killed", jobs, 400))  # more than is done while this test stands still for some seconds

    def victim_works() -> bool:
        active = stack.get("/v1/jobs?queue=killed&state=active&limit=200")["jobs"]
        return any(job["worker"].endswith(f"@{victim['Config']['Hostname']}") for job in active)

    eventually(victim_works)
    crash(victim)

    assert stack.drained("killed", jobs)["completed"] == jobs
    records = [stack.get(f"/v1/jobs/{job_id}") for job_id in ids]
    assert all(job["attemptsMade"] == 1 for job in records), "a stall is no attempt"
    assert sum(job["stalled"] for job in records) >= 1
    assert all(job["stalled"] <= 1 for job in records)

    def restarted() -> bool:
        now = next(c for c in stack.containers("worker") if c["Id"] == victim["Id"])
        return now["RestartCount"] == 1 and now["State"]["Health"]["Status"] == "healthy"

    eventually(restarted)
