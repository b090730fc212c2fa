"""Queues that are paused, emptied and looked through while jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.integration.api.service import Api, pointers, problem
from tests.integration.behaviour.stack import Stack
from tests.integration.engine.stage import Stage, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from backroom.local.server import EmbeddedServer

YEAR = 366 * 86_400_000


def test_a_pause_lets_what_runs_end_takes_jobs_and_outlives_every_process(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    with Stage(own_server.url, "paused", tmp_path / "stage") as stage, Api(tmp_path, own_server.url, "paused") as api:
        workers = stage.workers("prefork", "threads")
        scheduler = stage.scheduler()
        stack = Stack(api, stage)
        running = [stack.submit("wait", {"for": "go"}, queue="held")["id"] for _ in range(2)]
        for job_id in running:
            stack.running(job_id)

        stack.pause("held")
        waiting = stack.submit("echo", queue="held")["id"]
        delayed = stack.submit("echo", queue="held", delay=100)["id"]
        stage.let("go")

        for job_id in running:
            assert stack.ended(job_id)["state"] == "completed"
        eventually(lambda: stack.counts("held") == {"completed": 2, "waiting": 2})

        assert [process.stop() for process in (*workers, scheduler)] == [0, 0, 0]
        api.session.close()
        api.stop()
        own_server.kill()
        own_server.start()
        api.start()
        stage.workers("prefork", "threads")
        stage.scheduler("another")

        assert stack.ended(stack.submit("echo")["id"])["state"] == "completed"  # they work
        assert api.get("/v1/queues/held").json()["paused"] is True
        assert stack.counts("held") == {"completed": 2, "waiting": 2}
        assert stack.job(waiting)["stateReason"]["code"] == "paused"
        assert stage.runs(waiting) == stage.runs(delayed) == []

        stack.resume("held")
        for job_id in (waiting, delayed):
            assert stack.ended(job_id)["state"] == "completed"


def keys_of(stack: Stack, queue: str) -> list[str]:
    """The keys in Redis that have the queue in their names."""
    keys = stack.stage.store.keys
    return [str(key) for key in stack.stage.store.redis.scan_iter(f"{keys.prefix}:*{queue}*")]


def test_a_queue_is_obliterated_by_force_only_while_jobs_run_and_nothing_is_left_of_it(
    stack: Stack, queue: str
) -> None:
    running = [stack.submit("wait", {"for": queue}, queue=queue)["id"] for _ in range(2)]
    for job_id in running:
        stack.running(job_id)
    done = stack.submit("echo", queue=queue, tags=[queue])["id"]
    stack.ended(done)
    stack.ended(stack.submit("doomed", queue=queue)["id"])
    stack.submit("echo", queue=queue, delay=YEAR, ttl=YEAR)
    stack.api.call("PUT", f"/v1/queues/{queue}/limits", json={"rate": {"max": 100, "duration": 60_000}})

    refused = problem(stack.api.post(f"/v1/queues/{queue}/obliterate"), 409, "queue-busy")
    assert "2 jobs" in refused["detail"]
    assert stack.counts(queue) == {"active": 2, "completed": 1, "failed": 1, "delayed": 1}

    assert stack.api.post(f"/v1/queues/{queue}/obliterate", {"force": True}).json() == {"removed": 5}

    stack.stage.let(queue)
    for worker in stack.stage.processes[:2]:
        stack.stage.wait_until_idle(worker)  # what they say of its jobs now is refused
    assert keys_of(stack, queue) == []
    problem(stack.api.get(f"/v1/queues/{queue}"), 404, "not-found")
    for job_id in (*running, done):
        problem(stack.api.get(f"/v1/jobs/{job_id}"), 404, "not-found")
    assert stack.ended(stack.submit("echo", queue=queue)["id"])["state"] == "completed"  # and it may be used again


def test_a_clean_takes_the_oldest_of_a_state_up_to_its_limit_and_never_what_runs(stack: Stack, queue: str) -> None:
    running = stack.submit("wait", {"for": queue}, queue=queue)["id"]
    stack.running(running)
    done = [stack.ended(stack.submit("echo", queue=queue)["id"])["id"] for _ in range(5)]
    failed = stack.ended(stack.submit("doomed", queue=queue)["id"])["id"]

    def clean(**body: object) -> list[str]:
        found: list[str] = stack.api.post(f"/v1/queues/{queue}/clean", body).json()["ids"]
        return found

    assert clean(grace=600_000, limit=100, state="completed") == []
    assert clean(grace=0, limit=3, state="completed") == done[:3]
    assert stack.kinds(done[0])[-1] == "removed"
    refused = stack.api.post(f"/v1/queues/{queue}/clean", {"grace": 0, "limit": 100, "state": "active"})
    problem(refused, 422, "invalid-input")
    assert pointers(refused) == ["/state"]
    assert clean(grace=0, limit=100, state="failed") == [failed]
    for state in ("waiting", "delayed", "completed", "failed", "cancelled", "expired"):
        clean(grace=0, limit=100, state=state)
    assert stack.counts(queue) == {"active": 1}

    stack.stage.let(queue)
    assert stack.ended(running)["state"] == "completed"


def test_pages_over_three_states_neither_repeat_nor_skip(stack: Stack, queue: str) -> None:
    wanted = [stack.ended(stack.submit("echo", queue=queue)["id"])["id"] for _ in range(15)]
    stack.pause(queue)
    for options in ({}, {"delay": YEAR}) * 15:
        wanted += [stack.submit("echo", queue=queue, **options)["id"]]
    other = stack.ended(stack.submit("doomed", queue=f"{queue}-other")["id"])["id"]
    stack.act(stack.submit("echo", queue=queue)["id"], "cancel")

    seen: list[str] = []
    path = f"/v1/jobs?queue={queue}&state=completed&state=waiting&state=delayed&limit=10"
    while path:
        page = stack.api.get(path)
        seen += [job["id"] for job in page.json()["jobs"]]
        path = page.links["next"]["url"] if page.links else ""
        stack.submit("echo", queue=queue)  # newer than all of them: it belongs to a page that is over
    assert seen == wanted[::-1]
    assert other not in seen


def test_the_history_of_twenty_thousand_jobs_stays_near_its_cap(own_server: EmbeddedServer, tmp_path: Path) -> None:
    settings = {"BACKROOM_EVENTS_MAX": "500", "BACKROOM_ALLOW_UNKNOWN_JOB_TYPES": "true"}
    with (
        Stage(own_server.url, "history", tmp_path / "stage") as stage,
        Api(tmp_path, own_server.url, "history", **settings) as api,
    ):
        for _ in range(20):
            assert api.post("/v1/jobs/bulk", {"jobs": [{"name": "echo", "data": {}}] * 1000}).status_code == 202

        assert Stack(api, stage).counts("default") == {"waiting": 20_000}
        length = stage.store.redis.xlen(stage.store.keys.single("events"))
        assert 500 <= length <= 500 * 1.1
        assert api.post("/v1/queues/default/obliterate").json() == {"removed": 20_000}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_five_thousand_failed_jobs_are_retried_with_their_priorities_and_in_their_order(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """How long that takes, and how long its longest call holds Redis, is measured by `benchmarks.bulk`."""
    number = 25_000
    prefix = f"many-{uuid4().hex[:8]}"
    with Stage(own_server.url, prefix, tmp_path / "stage") as stage, Api(tmp_path, own_server.url, prefix) as api:
        stage.workers("threads", "threads", concurrency=8)
        stack = Stack(api, stage)
        priorities: dict[str, int] = {}
        for first in range(0, number, 1000):
            jobs = [
                {"name": "doomed", "queue": "many", "data": {}, "options": {"priority": (first + place) % 7}}
                for place in range(1000)
            ]
            for job, stored in zip(jobs, api.post("/v1/jobs/bulk", {"jobs": jobs}).json()["jobs"], strict=True):
                priorities[stored["id"]] = job["options"]["priority"]  # type: ignore[index]  # as it was just written
        eventually(lambda: stack.counts("many") == {"failed": number}, within=240)
        stack.pause("many")

        begun = api.post("/v1/bulk-actions", {"action": "retry", "filter": {"queue": "many", "state": "failed"}}).json()
        done = eventually(
            lambda: api.get(begun["links"]["self"]).json(), until=lambda view: view["state"] != "running", within=240
        )

        assert (done["state"], done["succeeded"], done["failed"]) == ("completed", number, 0)
        assert stack.counts("many") == {"waiting": number}
        seen: list[str] = []
        path = "/v1/jobs?queue=many&state=waiting&sort=priority&limit=200"
        while path:
            page = api.get(path)
            for job in page.json()["jobs"]:
                assert job["priority"] == priorities[job["id"]]
                seen.append(job["id"])
            path = page.links["next"]["url"] if page.links else ""
        assert len(set(seen)) == number
        assert [priorities[job_id] for job_id in seen] == sorted(priorities.values())
