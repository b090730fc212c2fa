"""Acting on jobs and queues."""

import pytest

from backroom.store import Store
from tests.integration.api.board import Board
from tests.integration.api.service import Api, problem


def submit(api: Api, **options: object) -> str:
    """Submit a job with options; its id."""
    found: str = api.post("/v1/jobs", {"name": "anything", "data": None, "options": options}).json()["id"]
    return found


def test_a_job_that_waits_is_cancelled_at_once(api: Api) -> None:
    for job_id in (submit(api), submit(api, delay=60_000)):
        response = api.post(f"/v1/jobs/{job_id}/cancel")
        assert (response.status_code, response.json()["state"]) == (200, "cancelled")
        assert "cancelled" in problem(api.post(f"/v1/jobs/{job_id}/cancel"), 409, "wrong-state")["detail"]


def test_a_job_that_runs_is_asked_to_stop(api: Api, board: Board) -> None:
    job_id = submit(api)
    board.claim()
    response = api.post(f"/v1/jobs/{job_id}/cancel")
    assert (response.status_code, response.json()["state"]) == (202, "active")


def test_a_cancelled_job_that_is_not_kept_is_answered_all_the_same(api: Api) -> None:
    job_id = submit(api, removeOnFail=True)
    response = api.post(f"/v1/jobs/{job_id}/cancel")
    assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    problem(api.get(f"/v1/jobs/{job_id}"), 404, "not-found")


def test_a_failed_job_is_run_again_with_its_options(api: Api, board: Board) -> None:
    job_id = submit(api, priority=3)
    problem(api.post(f"/v1/jobs/{job_id}/retry"), 409, "wrong-state")
    board.fail(board.claim(), "once")
    response = api.post(f"/v1/jobs/{job_id}/retry")
    assert response.status_code == 202
    job = response.json()
    assert (job["state"], job["priority"], job["attempts"], job["attemptsMade"]) == ("waiting", 3, 2, 1)
    board.fail(board.claim(), "twice")
    job = api.post(f"/v1/jobs/{job_id}/retry", {"resetAttempts": True}).json()
    assert job["attemptsMade"] == 0
    board.complete(board.claim(), "well")
    job = api.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["result"], job["error"]) == ("completed", "well", None)


def test_a_delayed_job_is_promoted(api: Api) -> None:
    job_id = submit(api, delay=60_000)
    response = api.post(f"/v1/jobs/{job_id}/promote")
    assert (response.status_code, response.json()["state"], response.json()["runAt"]) == (202, "waiting", None)
    problem(api.post(f"/v1/jobs/{job_id}/promote"), 409, "wrong-state")


def test_a_delayed_job_is_rescheduled(api: Api) -> None:
    job_id = submit(api, delay=60_000)
    response = api.post(f"/v1/jobs/{job_id}/reschedule", {"runAt": "2090-01-01T00:00:00+01:00"})
    assert (response.status_code, response.json()["runAt"]) == (202, "2089-12-31T23:00:00.000Z")
    assert api.post(f"/v1/jobs/{job_id}/reschedule", {"delay": 1000}).json()["runAt"] < "2089"
    for body in ({}, {"delay": 1, "runAt": "2090-01-01T00:00:00Z"}, {"delay": -1}, {"runAt": "soon"}):
        problem(api.post(f"/v1/jobs/{job_id}/reschedule", body), 422, "invalid-input")
    assert api.post(f"/v1/jobs/{job_id}/reschedule", {"delay": 0}).json()["state"] == "waiting"
    problem(api.post(f"/v1/jobs/{job_id}/reschedule", {"delay": 5}), 409, "wrong-state")


def test_a_job_is_removed_unless_it_runs(api: Api, board: Board) -> None:
    job_id = submit(api)
    board.claim()
    problem(api.call("DELETE", f"/v1/jobs/{job_id}"), 409, "wrong-state")
    other = submit(api)
    response = api.call("DELETE", f"/v1/jobs/{other}")
    assert (response.status_code, response.content) == (204, b"")
    problem(api.call("DELETE", f"/v1/jobs/{other}"), 404, "not-found")
    assert submit(api, jobId=other) == other


def test_a_queue_exists_once_it_is_named(api: Api) -> None:
    problem(api.get("/v1/queues/quiet"), 404, "not-found")
    paused = api.post("/v1/queues/quiet/pause")
    assert (paused.status_code, paused.json()["paused"]) == (200, True)
    assert api.get("/v1/queues/quiet").json() == paused.json()
    assert api.post("/v1/queues/quiet/resume").json()["paused"] is False
    assert [queue["name"] for queue in api.get("/v1/queues").json()["queues"]] == ["quiet"]


def test_a_paused_queue_takes_jobs_and_says_why_they_wait(api: Api) -> None:
    api.post("/v1/queues/misc/pause")
    job_id = submit(api)
    job = api.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["stateReason"]["code"]) == ("waiting", "paused")


def test_limits_are_set_shown_and_taken_away(api: Api) -> None:
    limits = {"concurrency": 2, "rate": {"max": 10, "duration": 1000}, "maxLength": 50}
    queue = api.call("PUT", "/v1/queues/misc/limits", json=limits).json()
    assert queue["limits"] == {**limits, "rate": {"max": 10, "duration": 1000, "limitedForMs": None}}
    queue = api.call("PUT", "/v1/queues/misc/limits", json={"concurrency": 1}).json()
    assert queue["limits"] == {"concurrency": 1, "rate": None, "maxLength": None}
    queue = api.call("DELETE", "/v1/queues/misc/limits").json()
    assert queue["limits"] == {"concurrency": None, "rate": None, "maxLength": None}


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_queue_of_a_strange_name_cannot_be_made(api: Api, store: Store, verb: str) -> None:
    problem(api.post(f"/v1/queues/a%20b/{verb}"), 422, "invalid-input")
    assert store.queues.names() == []
