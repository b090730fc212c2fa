"""Jobs go in: what is stored, what is refused, and what an id is worth that is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.integration.api.service import pointers, problem

if TYPE_CHECKING:
    from tests.integration.behaviour.stack import Stack

YEAR = 366 * 86_400_000


@pytest.fixture
def job_id() -> str:
    """An id of the test's own."""
    return f"own-{uuid4().hex[:8]}"


def test_a_job_that_is_taken_waits_and_has_been_told_of_once(stack: Stack, queue: str) -> None:
    stack.pause(queue)

    submitted = stack.submit("echo", {"n": 1}, queue=queue)

    assert submitted["id"]
    assert (submitted["state"], submitted["duplicate"]) == ("waiting", False)
    assert stack.kinds(submitted["id"]) == ["added", "waiting"]


def a_job_that_is(stack: Stack, state: str, queue: str, job_id: str) -> None:
    """Bring a job with this id into a state."""
    if state in {"waiting", "cancelled", "expired"}:
        stack.pause(queue)
    name, data, options = {
        "active": ("wait", {"for": job_id}, {}),
        "failed": ("doomed", {}, {}),
        "delayed": ("echo", {}, {"delay": YEAR}),
        "expired": ("echo", {}, {"ttl": 1}),
    }.get(state, ("echo", {}, {}))
    stack.submit(name, data, queue=queue, jobId=job_id, **options)
    match state:
        case "active":
            stack.running(job_id)
        case "cancelled":
            stack.act(job_id, "cancel")
        case "completed" | "failed" | "expired":
            stack.ended(job_id)
    assert stack.job(job_id)["state"] == state


@pytest.mark.parametrize("state", ["waiting", "delayed", "active", "completed", "failed", "cancelled", "expired"])
def test_an_id_in_use_stores_nothing_and_answers_the_job_that_has_it(
    stack: Stack, queue: str, job_id: str, state: str
) -> None:
    a_job_that_is(stack, state, queue, job_id)
    before, counts = stack.job(job_id), stack.counts(queue)
    another = {"name": "echo", "queue": queue, "data": {"other": True}, "options": {"jobId": job_id, "priority": 7}}

    single = stack.api.post("/v1/jobs", another)
    bulk = stack.api.post("/v1/jobs/bulk", {"jobs": [another, another]})

    assert single.status_code == 200
    assert {name: single.json()[name] for name in ("id", "state", "duplicate")} == {
        "id": job_id,
        "state": state,
        "duplicate": True,
    }
    assert bulk.json()["jobs"] == [{"id": job_id, "state": state, "duplicate": True}] * 2
    assert stack.job(job_id) == before
    assert stack.counts(queue) == counts
    assert stack.kinds(job_id).count("added") == 1
    assert stack.kinds(job_id).count("duplicated") == 3
    stack.stage.let(job_id)


def test_the_id_of_a_job_that_was_removed_is_free(stack: Stack, queue: str, job_id: str) -> None:
    a_job_that_is(stack, "completed", queue, job_id)
    assert stack.api.call("DELETE", f"/v1/jobs/{job_id}").status_code == 204

    again = stack.submit("echo", {"again": True}, queue=queue, jobId=job_id)

    assert again["duplicate"] is False
    assert stack.ended(job_id)["result"] == {"again": True}


def test_ids_are_text_and_may_look_like_numbers(stack: Stack, queue: str) -> None:
    for text in ("0", "12"):
        assert stack.submit("echo", queue=queue, jobId=text)["id"] == text
        assert stack.ended(text)["state"] == "completed"
        assert stack.api.call("DELETE", f"/v1/jobs/{text}").status_code == 204


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"options": {"jobId": "a:b"}}, "/options/jobId"),
        ({"options": {"jobId": ""}}, "/options/jobId"),
        ({"queue": ""}, "/queue"),
        ({"options": {"sizeLimit": 10}}, "/options/sizeLimit"),
        ({"options": {"priority": 2_097_152}}, "/options/priority"),
        ({"options": {"priority": 1.5}}, "/options/priority"),
        ({"options": {"priority": -1}}, "/options/priority"),
        ({"options": {"delay": -1}}, "/options/delay"),
        ({"options": {"backoff": {"type": "fixed", "delay": 1, "jitter": 1.2}}}, "/options/backoff/jitter"),
    ],
)
def test_what_is_not_valid_is_refused_with_its_place_and_nothing_is_stored(
    stack: Stack, queue: str, change: dict[str, Any], where: str
) -> None:
    job = {"name": "echo", "queue": queue, "data": {}}

    single = stack.api.post("/v1/jobs", job | change)
    bulk = stack.api.post("/v1/jobs/bulk", {"jobs": [job, job | change, job]})

    for answer, pointer in ((single, where), (bulk, f"/jobs/1{where}")):
        problem(answer, 422, "invalid-input")
        assert pointers(answer) == [pointer]
    problem(stack.api.get(f"/v1/queues/{queue}"), 404, "not-found")


def test_a_queue_takes_no_more_than_it_may_hold(stack: Stack, queue: str) -> None:
    stack.pause(queue)
    stack.api.call("PUT", f"/v1/queues/{queue}/limits", json={"maxLength": 2})
    job = {"name": "echo", "queue": queue, "data": {}}

    problem(stack.api.post("/v1/jobs/bulk", {"jobs": [job] * 3}), 503, "queue-full")
    assert stack.counts(queue) == {}
    ids = [stack.submit("echo", queue=queue)["id"] for _ in range(2)]
    problem(stack.api.post("/v1/jobs", job), 503, "queue-full")

    stack.resume(queue)
    for job_id in ids:
        stack.ended(job_id)
    assert stack.ended(stack.submit("echo", queue=queue)["id"])["state"] == "completed"
