"""Failed tries: how many there are, how far apart, and what is left of them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.integration.api.service import problem
from tests.integration.behaviour.stack import Stack, milliseconds
from tests.integration.engine.stage import eventually


def gaps(job: dict[str, object]) -> list[float]:
    """From the end of each try to the begin of the next, in ms, as the job's own log has them."""
    log: list[dict[str, str]] = job["attemptLog"]  # type: ignore[assignment]  # as the API's document says
    times = [(entry["startedAt"], entry["finishedAt"]) for entry in log]
    return [milliseconds(ended, began) for (_, ended), (began, _) in pairwise(times)]


def test_three_tries_of_a_job_that_always_fails(stack: Stack) -> None:
    job = stack.ended(stack.submit("flaky", {"fails": 9}, attempts=3)["id"])

    assert (job["state"], job["attemptsMade"], job["attempts"]) == ("failed", 3, 3)
    assert job["error"]["message"] == "try 3"
    assert [entry["error"]["message"] for entry in job["attemptLog"]] == ["try 1", "try 2", "try 3"]
    assert stack.kinds(job["id"]).count("retries-exhausted") == 1
    assert stack.kinds(job["id"]).count("failed") == 1
    assert "delayed" not in stack.kinds(job["id"])  # without a backoff: at once


def test_no_error_is_shown_after_a_try_that_succeeded(stack: Stack) -> None:
    job = stack.ended(stack.submit("flaky", {"fails": 1}, attempts=2)["id"])

    assert (job["state"], job["result"], job["error"]) == ("completed", "at last", None)
    assert [entry["outcome"] for entry in job["attemptLog"]] == ["failed", "completed"]


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (300, [300, 300]),
        ({"type": "fixed", "delay": 200}, [200, 200]),
        ({"type": "exponential", "delay": 200}, [200, 400, 800]),
        ({"type": "exponential", "delay": 400, "jitter": 0.5}, [200, 400]),
    ],
)
def test_backoffs(stack: Stack, backoff: object, waits: list[int]) -> None:
    job_id = stack.submit("flaky", {"fails": 9}, attempts=1 + len(waits), backoff=backoff)["id"]

    job = stack.ended(job_id)

    assert all(gap >= wait for gap, wait in zip(gaps(job), waits, strict=True))
    planned = [int(event.fields["runAt"]) - event.at for event in stack.stage.happened(job_id, "delayed")]
    assert all(wait <= ms <= wait * 2 + 1 for ms, wait in zip(planned, waits, strict=True))


def test_a_job_that_waits_for_its_next_try_says_so(stack: Stack) -> None:
    job_id = stack.submit("flaky", {"fails": 1}, attempts=2, backoff=600_000)["id"]

    waiting = eventually(lambda: stack.job(job_id), until=lambda job: job["state"] == "delayed")

    assert waiting["stateReason"] == {"code": "backoff", "until": waiting["runAt"]}
    stack.act(job_id, "promote", status=202)
    assert stack.ended(job_id)["result"] == "at last"


def test_jitter_spreads_two_hundred_retries_between_its_bounds(stack: Stack, queue: str) -> None:
    options = {"attempts": 2, "backoff": {"type": "exponential", "delay": 400, "jitter": 0.5}}
    jobs = [{"name": "flaky", "queue": queue, "data": {"fails": 1}, "options": options} for _ in range(200)]
    ids = {job["id"] for job in stack.api.post("/v1/jobs/bulk", {"jobs": jobs}).json()["jobs"]}

    eventually(lambda: stack.counts(queue) == {"completed": 200})

    happened = [event for event in stack.stage.everything("delayed", "waiting") if event.job_id in ids]
    waits = [int(event.fields["runAt"]) - event.at for event in happened if event.type == "delayed"]
    assert len(waits) == 200
    assert 200 <= min(waits) <= max(waits) <= 401  # a due time is a whole ms, and never too early
    assert len(set(waits)) > 50
    due = {event.job_id: int(event.fields["runAt"]) for event in happened if event.type == "delayed"}
    ready = {event.job_id: event.at for event in happened if event.type == "waiting"}  # the last one of each
    assert all(ready[job_id] >= due[job_id] for job_id in ids)


def test_a_function_as_backoff_may_wait_go_on_at_once_and_give_up(stack: Stack) -> None:
    stepped = stack.ended(stack.submit("stepped")["id"])
    first, _, third = gaps(stepped)
    assert (stepped["attemptsMade"], first >= 200, third >= 100) == (4, True, True)

    picky = stack.ended(stack.submit("picky")["id"])
    assert (picky["state"], picky["attemptsMade"], picky["attempts"]) == ("failed", 2, 5)


def test_an_unrecoverable_error_is_the_last(stack: Stack) -> None:
    job = stack.ended(stack.submit("doomed", attempts=5)["id"])

    assert (job["state"], job["attemptsMade"], job["error"]["type"]) == ("failed", 1, "Unrecoverable")


def test_retry_after_spends_no_attempt(stack: Stack) -> None:
    job = stack.ended(stack.submit("later", {"times": 2, "seconds": 0.2}, attempts=1)["id"])

    assert (job["state"], job["attemptsMade"]) == ("completed", 1)
    assert [entry["outcome"] for entry in job["attemptLog"]] == ["retry-after", "retry-after", "completed"]
    assert all(gap >= 200 for gap in gaps(job))


def test_rate_limited_holds_the_queue_spends_no_attempt_and_can_be_lifted(stack: Stack, queue: str) -> None:
    job_id = stack.submit("later", {"times": 1, "seconds": 600, "limit": True}, queue=queue)["id"]
    other = stack.submit("echo", queue=queue, delay=100)["id"]

    eventually(lambda: stack.counts(queue) == {"waiting": 2})
    assert stack.job(job_id)["stateReason"]["code"] == stack.job(other)["stateReason"]["code"] == "rate-limited"
    limited = stack.api.get(f"/v1/queues/{queue}").json()["limits"]["rate"]["limitedForMs"]
    assert 500_000 < limited <= 600_001

    assert stack.api.call("DELETE", f"/v1/queues/{queue}/limits").status_code == 200

    job = stack.ended(job_id)
    assert (job["state"], job["result"], job["attemptsMade"]) == ("completed", "attempt 1", 1)
    assert stack.ended(other)["state"] == "completed"
    first, second = (stack.job(which)["startedAt"] for which in (job_id, other))
    assert first <= second  # it went back to the front


def test_a_failed_job_is_retried_once_more_or_with_all_its_tries(stack: Stack) -> None:
    job_id = stack.ended(stack.submit("flaky", {"fails": 9}, attempts=2, priority=5)["id"])["id"]

    stack.act(job_id, "retry", {}, status=202)
    once = eventually(lambda: stack.ended(job_id), until=lambda job: job["attemptsMade"] == 3)
    assert (once["state"], once["priority"], len(stack.stage.noted(job_id))) == ("failed", 5, 3)

    stack.act(job_id, "retry", {"resetAttempts": True}, status=202)
    eventually(lambda: len(stack.stage.noted(job_id)), until=lambda tries: tries == 5)
    again = eventually(lambda: stack.ended(job_id), until=lambda job: job["attemptsMade"] == 2)
    assert (again["state"], again["attempts"]) == ("failed", 2)


def test_a_retried_job_that_succeeds_shows_no_old_error(stack: Stack) -> None:
    job_id = stack.ended(stack.submit("flaky", {"fails": 1})["id"])["id"]
    assert stack.job(job_id)["error"]["message"] == "try 1"

    stack.act(job_id, "retry", status=202)

    job = eventually(lambda: stack.ended(job_id), until=lambda job: job["state"] == "completed")
    assert (job["error"], job["attemptsMade"]) == (None, 2)
    problem(stack.api.post("/v1/jobs/unknown/retry"), 404, "not-found")
