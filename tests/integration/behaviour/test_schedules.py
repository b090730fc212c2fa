"""Schedules that fire, in a running stack."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest

from tests.integration.api.service import pointers, problem
from tests.integration.behaviour.stack import Stack, milliseconds
from tests.integration.engine.stage import eventually


@pytest.fixture
def key() -> str:
    """A schedule of the test's own."""
    return f"schedule-{uuid4().hex[:8]}"


def slots(stack: Stack, key: str) -> list[str]:
    """The slots that were fired last, oldest first."""
    return [fire["slot"] for fire in reversed(stack.schedule(key)["lastFires"]) if fire["slot"]]


def fires(stack: Stack, key: str) -> int:
    return int(stack.schedule(key)["fireCount"])


@pytest.mark.parametrize("rhythm", [{"every": 500}, {"pattern": "* * * * * *", "tz": "Asia/Kolkata"}])
def test_a_schedule_makes_one_job_a_slot_and_they_run(stack: Stack, key: str, rhythm: dict[str, object]) -> None:
    stack.put_schedule(key, **rhythm, misfire="all", limit=4)

    view = eventually(lambda: stack.schedule(key), until=lambda view: view["state"] == "finished")

    apart = 500 if "every" in rhythm else 1000
    found = slots(stack, key)
    assert [milliseconds(one, other) for one, other in pairwise(found)] == [apart] * 3
    assert (view["fireCount"], view["next"]) == (4, [])
    jobs = [stack.ended(fire["jobId"]) for fire in view["lastFires"]]
    assert {job["state"] for job in jobs} == {"completed"}
    assert all(milliseconds(fire["slot"], fire["at"]) >= 0 for fire in view["lastFires"])
    assert len({job["id"] for job in jobs}) == 4


def test_a_start_and_an_end_bound_the_slots(stack: Stack, key: str) -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=6)
    times = {"startDate": start.isoformat(), "endDate": (start + timedelta(seconds=1)).isoformat()}
    view = stack.put_schedule(key, every=500, misfire="all", **times)
    assert [milliseconds(view["startDate"], slot) for slot in view["next"]] == [0, 500, 1000]
    assert view["lastFires"] == []

    eventually(lambda: stack.schedule(key)["state"] == "finished")

    assert slots(stack, key) == view["next"]


def test_a_paused_schedule_makes_nothing_up(stack: Stack, key: str) -> None:
    stack.put_schedule(key, every=300, misfire="all")
    eventually(lambda: fires(stack, key))
    assert stack.api.post(f"/v1/schedules/{key}/pause").json()["state"] == "paused"
    before, last = fires(stack, key), slots(stack, key)[-1]
    other = f"{key}-clock"
    stack.put_schedule(other, every=300, limit=5)
    eventually(lambda: stack.schedule(other)["state"] == "finished")
    assert fires(stack, key) == before

    resumed = stack.api.post(f"/v1/schedules/{key}/resume").json()

    newer = eventually(lambda: [slot for slot in slots(stack, key) if slot > last])
    assert newer[0] >= resumed["next"][0]
    stack.api.call("DELETE", f"/v1/schedules/{key}")


def test_run_now_makes_a_job_beside_the_slots(stack: Stack, key: str) -> None:
    stack.put_schedule(key, every=3_600_000, startDate="2090-01-01T00:00:00Z", paused=True)

    answer = stack.api.post(f"/v1/schedules/{key}/run")

    assert answer.status_code == 202
    assert stack.ended(answer.json()["id"])["state"] == "completed"
    view = stack.schedule(key)
    assert [(fire["slot"], fire["jobId"]) for fire in view["lastFires"]] == [(None, answer.json()["id"])]
    assert view["fireCount"] == 0


def test_without_overlap_a_slot_is_left_out_while_a_job_is_at_work(stack: Stack, key: str) -> None:
    job = {"name": "wait", "data": {"for": key}}
    stack.put_schedule(key, every=200, overlap=False, job=job)
    eventually(lambda: fires(stack, key))
    clock = f"{key}-clock"
    stack.put_schedule(clock, every=200, limit=5)
    eventually(lambda: stack.schedule(clock)["state"] == "finished")
    assert fires(stack, key) == 1

    stack.stage.let(key)

    eventually(lambda: fires(stack, key) > 1)
    stack.api.call("DELETE", f"/v1/schedules/{key}")


def test_another_interval_begins_at_once_and_the_same_changes_nothing(stack: Stack, key: str) -> None:
    stack.put_schedule(key, every=3_600_000)
    eventually(lambda: fires(stack, key) == 1)
    coming = stack.schedule(key)["next"]
    assert stack.put_schedule(key, 200, every=3_600_000)["next"] == coming

    stack.put_schedule(key, 200, every=300)

    eventually(lambda: fires(stack, key) > 2)
    stack.api.call("DELETE", f"/v1/schedules/{key}")


def test_emptying_its_queue_does_not_stop_it(stack: Stack, key: str, queue: str) -> None:
    stack.put_schedule(key, every=200, job={"name": "echo", "data": {}, "queue": queue})
    for action, body in (
        ("drain", {"delayed": True}),
        ("clean", {"grace": 0, "limit": 100, "state": "completed"}),
        ("obliterate", {"force": True}),
    ):
        seen = fires(stack, key)
        eventually(lambda seen=seen: fires(stack, key) > seen)
        assert stack.api.post(f"/v1/queues/{queue}/{action}", body).status_code == 200

    seen = fires(stack, key)
    eventually(lambda: fires(stack, key) > seen)
    assert stack.api.call("DELETE", f"/v1/schedules/{key}").status_code == 204
    problem(stack.api.get(f"/v1/schedules/{key}"), 404, "not-found")


@pytest.mark.parametrize(
    "pattern",
    ["", "* * * *", "* * * * * * *", "61 * * * *", "0 0 31 2 *", "a b c d e", "* " * 60, "*/0 * * * *", "0" * 257,
     "1-99999999999 * * * *", "\u0661 * * * *", "@reboot", "0 0 1 1 * 2030", ",,,, * * * *", "* * * * *\n* * * * *"],
)  # fmt: skip
def test_hostile_patterns_are_refused_with_a_reason(stack: Stack, key: str, pattern: str) -> None:
    body = {"pattern": pattern, "job": {"name": "echo", "data": {}}}

    refused = stack.api.call("PUT", f"/v1/schedules/{key}", json=body, timeout=30)

    problem(refused, 422, "invalid-input")
    assert pointers(refused) == ["/pattern"]
