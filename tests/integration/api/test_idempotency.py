"""``Idempotency-Key``: sent twice, carried out once."""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import psutil
import pytest
import requests

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from backroom.store.idempotency import TAKEN_FOR_DEAD_MS
from tests.integration.api.board import Board
from tests.integration.api.service import TYPES, Api, problem

JOB = {"name": "anything", "data": {"n": 1, "m": 2}}
SAME_JOB = {"data": {"m": 2, "n": 1}, "name": "anything"}
ENQUEUED = {"userId": "u1", "payload": {}}
#: Longer than any test.
LONG_MS = 3_600_000
#: The calls that heed the header, each with a body and another one.
CALLS = [
    ("/v1/jobs", JOB, {**JOB, "data": 2}),
    ("/jobs/enqueue", ENQUEUED, {**ENQUEUED, "userId": "u2"}),
    ("/v1/jobs/bulk", {"jobs": [JOB, JOB, {**JOB, "options": {"jobId": "own"}}]}, {"jobs": [JOB]}),
]


def send(api: Api, key: str, body: object = None, path: str = "/v1/jobs", **headers: str) -> requests.Response:
    return api.post(path, JOB if body is None else body, headers={"Idempotency-Key": key, **headers})


def record_of(store: Store, key: str) -> str:
    """The key of Redis under which the store remembers the calls of ``POST /v1/jobs`` with this key."""
    return store.keys.single("idempotency:" + hashlib.sha256(f"open\nPOST\n/v1/jobs\n{key}".encode()).hexdigest())


def number_of_jobs(store: Store) -> int:
    return sum(sum(queue.counts.values()) for queue in store.queues.list())


@pytest.mark.parametrize(("path", "body", "other"), CALLS)
def test_the_first_answer_is_given_again(api: Api, store: Store, path: str, body: object, other: object) -> None:
    first = send(api, "k", body, path)
    stored = number_of_jobs(store)
    again = send(api, '"k"', body, path)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    for name in ("Location", "Retry-After", "Content-Type"):
        assert again.headers.get(name) == first.headers.get(name)
    problem(send(api, "k", other, path), 422, "key-reused")
    assert number_of_jobs(store) == stored
    assert send(api, "k2", body, path).status_code == 202


def test_a_job_that_has_moved_on_is_answered_as_it_was(api: Api, board: Board) -> None:
    first = send(api, "k")
    board.complete(board.claim(), 1)
    assert send(api, "k").json() == first.json()


def test_the_order_of_keys_in_an_object_makes_no_other_request(api: Api) -> None:
    assert send(api, "k", SAME_JOB).json()["id"] == send(api, "k", JOB).json()["id"]


def test_the_same_key_at_another_address_is_another_key(api: Api) -> None:
    assert send(api, "k").json()["name"] == "anything"
    assert send(api, "k", ENQUEUED, "/jobs/enqueue").json()["name"] == "heavy-task"


def test_ids_of_the_callers_own_are_kept(api: Api) -> None:
    body = {**JOB, "options": {"jobId": "mine"}}
    assert send(api, "k", body).json()["duplicate"] is False
    assert send(api, "k", body).json()["duplicate"] is False
    assert send(api, "other", body).json()["duplicate"] is True


@pytest.mark.parametrize("key", ['""', '"', '"a', '"a"b"', '"a","b"', "é".encode(), '"é"'.encode(), "k" * 256])
def test_keys_that_are_none(api: Api, store: Store, key: str | bytes) -> None:
    problem(api.post("/v1/jobs", JOB, headers={"Idempotency-Key": key}), 400, "bad-request")
    assert number_of_jobs(store) == 0


@pytest.mark.parametrize(
    "key", ['"with \\"quotes\\" and \\\\"', "k" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b"]
)
def test_keys_of_all_kinds(api: Api, key: str) -> None:
    assert send(api, key).content == send(api, key).content


def test_a_refusal_is_not_kept(api: Api) -> None:
    refused = send(api, "k", {"name": "heavy-task", "data": {"userId": 5}})
    problem(refused, 422, "invalid-input")
    assert send(api, "k").status_code == 202
    api.call("PUT", "/v1/queues/misc/limits", json={"maxLength": 1})
    problem(send(api, "full"), 503, "queue-full")
    api.call("DELETE", "/v1/queues/misc/limits")
    assert send(api, "full").status_code == 202


def test_an_answer_that_was_waited_for_is_kept_as_well(api: Api, board: Board) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(send, api, "k", Prefer="wait=30")
        board.complete(board.claim(), "done")
        first = answer.result(60)
    again = send(api, "k", Prefer="wait=30")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["result"] == "done"
    assert again.headers["Preference-Applied"] == "wait=30"


def test_fifty_callers_with_one_key_make_one_job(api: Api, store: Store) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: send(api, "one"), range(50)))
    answered = [answer for answer in answers if answer.status_code == 202]
    for refused in answers:
        if refused.status_code != 202:
            problem(refused, 409, "still-running")
            assert refused.headers["Retry-After"] == "1"
    assert answered
    assert len({answer.json()["id"] for answer in answered}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answered) == 1
    assert number_of_jobs(store) == 1


def test_a_process_that_died_before_it_stored_anything_is_succeeded_with_its_ids(api: Api, store: Store) -> None:
    first = send(api, "k").json()["id"]
    # The same request, as a process leaves it that dies between its claim and its submission.
    record = record_of(store, "k")
    store.actions.remove(first)
    fingerprint = store.redis.hget(record, "fingerprint")
    store.redis.delete(record)
    died = store.idempotency.claim("open\nPOST\n/v1/jobs\nk", fingerprint, keep_seconds=100)
    problem(send(api, "k"), 409, "still-running")
    assert number_of_jobs(store) == 0
    store.redis.hincrby(record, "since", -TAKEN_FOR_DEAD_MS)
    assert send(api, "k").json()["id"] == died.new_id()
    assert number_of_jobs(store) == 1


@pytest.fixture
def one_process(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[tuple[Api, Store]]:
    """An API of one gunicorn worker, on a server of its own."""
    with connect(own_server.url, timeout=10) as client:
        store = Store(client, prefix="idempotent")
        store.job_types.publish("test-worker", TYPES, ttl_seconds=3600)
        # Of a frozen store, and not of a machine that stands still for some seconds, the API says that it is away.
        settings = {"BACKROOM_API_PROCESSES": "1", "BACKROOM_REDIS_TIMEOUT_SECONDS": "6"}
        with Api(tmp_path, own_server.url, "idempotent", **settings) as api:
            yield api, store


def until(look: Callable[[], bool], within: float = 30) -> None:
    """Ask again and again until it is so."""
    deadline = monotonic() + within
    while not look():
        assert monotonic() < deadline, "it did not come to be"


def kill_gunicorns_worker(api: Api) -> None:
    [worker] = psutil.Process(api.pid).children()
    os.kill(worker.pid, signal.SIGKILL)


@pytest.mark.parametrize("removed", [False, True])
def test_a_process_killed_between_claim_and_answer_makes_one_job_and_no_second(
    one_process: tuple[Api, Store], *, removed: bool
) -> None:
    api, store = one_process
    body = {**JOB, "options": {"removeOnComplete": True}} if removed else JOB
    with ThreadPoolExecutor(1) as pool:
        broken = pool.submit(send, api, "k", body, Prefer="wait=60")
        until(lambda: bool(store.queues.names()))
        kill_gunicorns_worker(api)
        with pytest.raises(requests.ConnectionError):
            broken.result(60)
    # However long the next process takes to come up, the claim is not taken for dead before it was met.
    record = record_of(store, "k")
    store.redis.hincrby(record, "since", LONG_MS)
    refused = send(api, "k", body)
    problem(refused, 409, "still-running")
    assert refused.headers["Retry-After"] == "1"
    store.redis.hincrby(record, "since", -LONG_MS)
    if removed:
        board = Board(store)
        board.complete(board.claim(), 1)
    answers: list[requests.Response] = []
    until(lambda: answers.append(send(api, "k", body)) or answers[-1].status_code != 409, within=60)
    assert answers[-1].status_code == 202
    again = send(api, "k", body)
    assert (again.json()["id"], again.headers["Idempotent-Replayed"]) == (answers[-1].json()["id"], "true")
    assert number_of_jobs(store) == (0 if removed else 1)
    assert sum(event.type == "added" for event in store.events.read("0-0")) == 1


def test_a_request_whose_answer_was_lost_in_a_frozen_store_is_carried_out_once(
    one_process: tuple[Api, Store], own_server: EmbeddedServer
) -> None:
    api, store = one_process
    own_server.pause()
    problem(send(api, "k"), 503, "store-unavailable")
    own_server.resume()
    answers: list[requests.Response] = []
    until(lambda: answers.append(send(api, "k")) or answers[-1].status_code == 202, within=60)
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert number_of_jobs(store) == 1
