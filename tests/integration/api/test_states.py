"""Every action on a job in every state: what is done, and what is refused with nothing changed."""

import time
from typing import Any, Final

import pytest

from backroom.store import Store
from tests.integration.api.board import Board
from tests.integration.api.service import Api, problem

JOB: Final = {"name": "anything", "data": 1}
PATIENCE: Final = 60
UNFINISHED: Final = ("waiting", "delayed", "active")
STATES: Final = (*UNFINISHED, "completed", "failed", "cancelled", "expired")
#: Action -> the status of its answer by state; 409 in all the others.
DONE: Final[dict[str, dict[str, int]]] = {
    "cancel": {"waiting": 200, "delayed": 200, "active": 202},
    "retry": dict.fromkeys(("completed", "failed", "cancelled", "expired"), 202),
    "promote": {"delayed": 202},
    "reschedule": {"delayed": 202},
    "change": {"waiting": 200, "delayed": 200},
    "remove": dict.fromkeys([state for state in STATES if state != "active"], 204),
    "result": {**dict.fromkeys(UNFINISHED, 202), "completed": 200},
}
REQUESTS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "cancel": ("POST", "/cancel", {}),
    "retry": ("POST", "/retry", {"json": {}}),
    "promote": ("POST", "/promote", {}),
    "reschedule": ("POST", "/reschedule", {"json": {"delay": 3_600_000}}),
    "change": ("PATCH", "", {"json": {"priority": 3}, "headers": {"If-Match": "*"}}),
    "remove": ("DELETE", "", {}),
    "result": ("GET", "/result", {}),
}


def job_in(state: str, api: Api, board: Board, store: Store) -> str:
    """The id of a job in this state."""
    options = {"delayed": {"delay": 3_600_000}, "expired": {"ttl": 1}}.get(state, {})
    job_id: str = api.post("/v1/jobs", {**JOB, "options": options}).json()["id"]
    if state in {"active", "completed", "failed"}:
        claimed = board.claim()
        if state == "completed":
            board.complete(claimed, "done")
        if state == "failed":
            board.fail(claimed, "no")
    if state == "cancelled":
        assert api.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    deadline = time.monotonic() + PATIENCE
    while api.get(f"/v1/jobs/{job_id}").json()["state"] != state:
        store.upkeep.sweep()
        assert time.monotonic() < deadline
    return job_id


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", DONE)
def test_an_action_is_done_where_the_state_allows_it_and_else_nothing_is_changed(
    api: Api, board: Board, store: Store, action: str, state: str
) -> None:
    job_id = job_in(state, api, board, store)
    before = api.get(f"/v1/jobs/{job_id}")
    method, rest, options = REQUESTS[action]
    response = api.call(method, f"/v1/jobs/{job_id}{rest}", **options)
    if state in DONE[action]:
        assert response.status_code == DONE[action][state], response.text
        return
    problem(response, 409, "wrong-state")
    after = api.get(f"/v1/jobs/{job_id}")
    assert (after.json(), after.headers["ETag"]) == (before.json(), before.headers["ETag"])


def test_a_job_that_runs_cannot_be_cleaned_away_nor_its_queue_obliterated(api: Api, board: Board, store: Store) -> None:
    job_in("active", api, board, store)
    cleaning = {"grace": 0, "limit": 10, "state": "active"}
    problem(api.post("/v1/queues/misc/clean", cleaning), 422, "invalid-input")
    problem(api.post("/v1/queues/misc/obliterate", {}), 409, "queue-busy")


@pytest.mark.parametrize("name", ["limits", "parent", "children", "deduplication"])
def test_options_that_are_reserved_are_refused_in_words_of_their_own(api: Api, name: str) -> None:
    response = api.post("/v1/jobs", {**JOB, "options": {name: {}}})
    [error] = problem(response, 422, "invalid-input")["errors"]
    assert (error["pointer"], error["code"]) == (f"/options/{name}", "reserved-option")


@pytest.mark.parametrize("rest", ["", "/pause", "/resume", "/run"])
def test_schedules_that_do_not_exist(api: Api, rest: str) -> None:
    problem(api.call("POST" if rest else "GET", f"/v1/schedules/nobody{rest}"), 404, "not-found")
    problem(api.call("DELETE", "/v1/schedules/nobody"), 404, "not-found")


@pytest.mark.parametrize("what", ["queues/nobody", "workers/nobody/quiet", "workers/nobody/stop", "keys/nobody"])
def test_other_things_that_do_not_exist(api: Api, what: str) -> None:
    problem(api.call("POST" if "workers" in what else "GET", f"/v1/{what}"), 404, "not-found")
