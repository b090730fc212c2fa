"""``Prefer: wait``: the answer comes when the job has ended, or when the time is up."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest
import requests

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from tests.integration.api.board import Board
from tests.integration.api.service import TYPES, Api, problem

JOB = {"name": "anything", "data": 1}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as pool:
        yield pool


def test_a_submission_waits_for_the_end_of_its_job(api: Api, board: Board, pool: ThreadPoolExecutor) -> None:
    answer = pool.submit(api.post, "/v1/jobs", JOB, headers={"Prefer": "wait=30"})
    board.complete(board.claim(), "done")
    response = answer.result(60)
    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == "wait=30"
    assert (response.json()["state"], response.json()["result"]) == ("completed", "done")
    assert response.json()["duplicate"] is False


def test_a_submission_whose_time_is_up_is_accepted(api: Api) -> None:
    response = api.post("/v1/jobs", JOB, headers={"Prefer": "respond-async, wait=1"})
    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "wait=1"
    assert response.json()["state"] == "waiting"


def test_more_than_a_minute_is_a_minute_and_nonsense_is_ignored(api: Api, board: Board) -> None:
    job_id = api.post("/v1/jobs", JOB).json()["id"]
    board.complete(board.claim(), 1)
    path = f"/v1/jobs/{job_id}"
    assert api.get(path, headers={"Prefer": "wait=999"}).headers["Preference-Applied"] == "wait=60"
    assert "Preference-Applied" not in api.get(path, headers={"Prefer": "wait=soon"}).headers


@pytest.mark.parametrize("ending", ["complete", "fail", "cancel", "remove"])
def test_a_reader_waits_for_any_kind_of_end(api: Api, board: Board, pool: ThreadPoolExecutor, ending: str) -> None:
    job_id = api.post("/v1/jobs", JOB).json()["id"]
    answer = pool.submit(api.get, f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})
    match ending:
        case "complete":
            board.complete(board.claim(), 1)
        case "fail":
            board.fail(board.claim(), "no")
        case "cancel":
            api.post(f"/v1/jobs/{job_id}/cancel")
        case "remove":
            api.call("DELETE", f"/v1/jobs/{job_id}")
            problem(answer.result(60), 404, "not-found")
            return
    response = answer.result(60)
    assert response.status_code == 200
    assert response.json()["state"] == {"complete": "completed", "fail": "failed", "cancel": "cancelled"}[ending]
    assert "Retry-After" not in response.headers


def test_many_wait_at_once_and_each_is_told_of_its_own_job(api: Api, board: Board, pool: ThreadPoolExecutor) -> None:
    def wait(number: int) -> requests.Response:
        return api.post("/v1/jobs", {**JOB, "data": number}, headers={"Prefer": "wait=30"})

    answers = [pool.submit(wait, number) for number in range(20)]
    for _ in range(20):
        claimed = board.claim()
        board.complete(claimed, int(claimed.data) * 10)
    assert [answer.result(60).json()["result"] for answer in answers] == [number * 10 for number in range(20)]


@pytest.fixture
def small_api(server: EmbeddedServer, tmp_path: Path) -> Iterator[tuple[Api, Store]]:
    """An API of one process with seats for two."""
    client = connect(server.url)
    store = Store(client, prefix="small")
    client.flushdb()
    store.job_types.publish("test-worker", TYPES, ttl_seconds=3600)
    settings = {"BACKROOM_API_PROCESSES": "1", "BACKROOM_API_MAX_WAITS": "2"}
    with Api(tmp_path, server.url, "small", **settings) as api:
        yield api, store
    client.close()


def wait_for_jobs(store: Store, number: int) -> None:
    """Wait until so many jobs have been added."""
    position, seen, deadline = "0-0", 0, monotonic() + 60
    while seen < number:
        events = store.events.read(position, block_ms=1000)
        assert monotonic() < deadline, "no job came"
        position = events[-1].id if events else position
        seen += sum(event.type == "added" for event in events)


def test_one_more_than_may_wait_is_refused_and_nothing_is_stored(
    small_api: tuple[Api, Store], pool: ThreadPoolExecutor
) -> None:
    api, store = small_api
    waiting = [pool.submit(api.post, "/v1/jobs", JOB, headers={"Prefer": "wait=30"}) for _ in range(2)]
    wait_for_jobs(store, 2)
    problem(api.post("/v1/jobs", JOB, headers={"Prefer": "wait=30"}), 503, "too-many-waits")
    assert sum(store.queues.get("misc").counts.values()) == 2
    assert api.post("/v1/jobs", JOB).status_code == 202
    board = Board(store)
    for _ in range(3):
        board.complete(board.claim(), 1)
    assert [answer.result(60).status_code for answer in waiting] == [200, 200]
    assert api.post("/v1/jobs", JOB, headers={"Prefer": "wait=0"}).status_code == 202


def test_those_who_wait_are_answered_when_the_api_is_stopped(
    small_api: tuple[Api, Store], pool: ThreadPoolExecutor
) -> None:
    api, store = small_api
    answer: Future[requests.Response] = pool.submit(api.post, "/v1/jobs", JOB, headers={"Prefer": "wait=60"})
    wait_for_jobs(store, 1)
    api.ask_to_stop()
    response = answer.result(60)
    assert (response.status_code, response.json()["state"]) == (202, "waiting")
    assert api.wait_until_stopped() == 0
