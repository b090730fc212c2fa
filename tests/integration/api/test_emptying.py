"""Taking jobs out of queues."""

import pytest

from backroom.store import Store
from tests.integration.api.board import Board
from tests.integration.api.service import Api, pointers, problem


def submit(api: Api, **options: object) -> str:
    """Submit a job with options; its id."""
    found: str = api.post("/v1/jobs", {"name": "anything", "data": None, "options": options}).json()["id"]
    return found


def counts(api: Api) -> dict[str, int]:
    """How many jobs the queue has in each state that has any."""
    return {state: number for state, number in api.get("/v1/queues/misc").json()["counts"].items() if number}


def test_a_drain_takes_what_waits_and_on_request_what_is_delayed(api: Api, board: Board) -> None:
    submit(api)
    board.claim()
    for _ in range(3):
        submit(api)
    submit(api, delay=60_000)
    assert api.post("/v1/queues/misc/drain").json() == {"removed": 3}
    assert counts(api) == {"active": 1, "delayed": 1}
    assert api.post("/v1/queues/misc/drain", {"delayed": True}).json() == {"removed": 1}
    assert counts(api) == {"active": 1}


def test_a_clean_answers_what_it_has_removed(api: Api, board: Board) -> None:
    done = [submit(api) for _ in range(3)]
    for _ in done:
        board.complete(board.claim(), 1)
    waiting = submit(api)
    assert api.post("/v1/queues/misc/clean", {"grace": 60_000, "limit": 10}).json() == {"ids": []}
    assert api.post("/v1/queues/misc/clean", {"grace": 0, "limit": 2}).json() == {"ids": done[:2]}
    body = {"grace": 0, "limit": 10_000, "state": "waiting"}
    assert api.post("/v1/queues/misc/clean", body).json() == {"ids": [waiting]}
    assert counts(api) == {"completed": 1}
    assert api.post("/v1/queues/misc/clean").json() == {"ids": done[2:]}


def test_a_queue_whose_jobs_run_is_obliterated_by_force_only(api: Api, board: Board) -> None:
    submit(api)
    board.claim()
    submit(api)
    refused = problem(api.post("/v1/queues/misc/obliterate"), 409, "queue-busy")
    assert "1 jobs" in refused["detail"]
    assert counts(api) == {"active": 1, "waiting": 1}
    assert api.post("/v1/queues/misc/obliterate", {"force": True}).json() == {"removed": 2}
    problem(api.get("/v1/queues/misc"), 404, "not-found")
    assert api.get("/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    ("verb", "body", "where"),
    [
        ("drain", {"delayed": 1}, ["/delayed"]),
        ("drain", {"delay": True}, ["/delay"]),
        ("clean", {"grace": 0, "limit": 1, "state": "active"}, ["/state"]),
        ("clean", {"grace": 0, "limit": 1, "state": "asleep"}, ["/state"]),
        ("clean", {"grace": -1, "limit": 0}, ["/grace", "/limit"]),
        ("clean", {"grace": 0, "limit": 10_001}, ["/limit"]),
        ("clean", {"grace": "5", "limit": 1.5}, ["/grace", "/limit"]),
        ("obliterate", {"force": "yes"}, ["/force"]),
        ("obliterate", [], [""]),
    ],
)
def test_what_is_not_valid_removes_nothing(api: Api, verb: str, body: object, where: list[str]) -> None:
    submit(api)
    response = api.post(f"/v1/queues/misc/{verb}", body)
    problem(response, 422, "invalid-input")
    assert pointers(response) == where
    assert counts(api) == {"waiting": 1}


@pytest.mark.parametrize("queue", ["nothing", "a%20b", "%00", "..%2f.."])
@pytest.mark.parametrize(("verb", "body"), [("drain", {}), ("clean", {"grace": 0, "limit": 1}), ("obliterate", {})])
def test_queues_that_do_not_exist(api: Api, store: Store, verb: str, body: object, queue: str) -> None:
    problem(api.post(f"/v1/queues/{queue}/{verb}", body), 404, "not-found")
    assert store.queues.names() == []
