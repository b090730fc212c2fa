"""Server-sent events: what happens, told as it happens, and resumed where one was."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from backroom.store.events import EventId
from tests.integration.api.board import Board
from tests.integration.api.listening import Listener
from tests.integration.api.service import TYPES, Api, pointers, problem

JOB = {"name": "anything", "data": None}


def submit(api: Api, **job: object) -> str:
    """Submit a job; its id."""
    found: str = api.post("/v1/jobs", {**JOB, **job}).json()["id"]
    return found


def test_a_job_is_followed_from_where_it_is_to_its_end(api: Api, board: Board, store: Store) -> None:
    job = api.post("/v1/jobs", JOB).json()
    with Listener(api, job["links"]["events"]) as listener:
        listener.until_types("waiting")
        claimed = board.claim()
        store.execution.report(claimed.id, claimed.token, progress='{"percent":40,"message":"half"}')
        submit(api)  # another job is nobody's business here
        board.complete(claimed, 1)
        listener.until_ended()
    assert listener.response.headers["Content-Type"] == "text/event-stream"
    assert listener.response.headers["Cache-Control"] == "no-store"
    assert listener.response.headers["X-Accel-Buffering"] == "no"
    assert listener.lines[0] == "retry: 2000"
    assert listener.types == ["waiting", "active", "progress", "completed"]
    ids = [EventId.parse(told.id) for told in listener.told]
    assert ids == sorted(set(ids))
    for told in listener.told:
        assert {"type", "jobId", "queue", "name", "at"} <= set(told.data)
        assert (told.data["type"], told.data["jobId"]) == (told.type, job["id"])
        assert (told.data["queue"], told.data["name"]) == ("misc", "anything")
        assert told.data["at"].endswith("Z")
    assert listener.told[1].data["worker"] == "test-worker"
    assert listener.told[2].data["progress"] == {"percent": 40, "message": "half"}


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "removed"])
def test_a_stream_ends_with_the_end_of_its_job(api: Api, board: Board, end: str) -> None:
    job_id = submit(api)
    with Listener(api, f"/v1/jobs/{job_id}/events") as listener:
        listener.until_types("waiting")
        match end:
            case "completed":
                board.complete(board.claim(), 1)
            case "failed":
                board.fail(board.claim(), "no")
            case "cancelled":
                api.post(f"/v1/jobs/{job_id}/cancel")
            case "removed":
                api.call("DELETE", f"/v1/jobs/{job_id}")
        listener.until_ended()
    assert listener.types[-1] == end


def test_a_job_that_has_ended_is_one_event_and_a_browser_does_not_come_back_for_more(api: Api, board: Board) -> None:
    job_id = submit(api)
    board.complete(board.claim(), 1)
    with Listener(api, f"/v1/jobs/{job_id}/events") as listener:
        listener.until_ended()
    assert listener.types == ["completed"]
    assert listener.told[0].data["at"] == api.get(f"/v1/jobs/{job_id}").json()["finishedAt"]
    again = Listener(api, f"/v1/jobs/{job_id}/events", after=listener.told[0].id).response
    assert (again.status_code, again.content) == (204, b"")


def test_a_job_is_resumed_where_one_was(api: Api, board: Board) -> None:
    job_id = submit(api)
    with Listener(api, f"/v1/jobs/{job_id}/events") as listener:
        listener.until_types("waiting")
    claimed = board.claim()
    with Listener(api, f"/v1/jobs/{job_id}/events", after=listener.told[0].id) as listener:
        listener.until_types("active")
    board.complete(claimed, 1)
    with Listener(api, f"/v1/jobs/{job_id}/events", after="0-0") as whole:
        whole.until_ended()
    assert whole.types == ["added", "waiting", "active", "completed"]
    with Listener(api, f"/v1/jobs/{job_id}/events", after=listener.told[0].id) as listener:
        listener.until_ended()
    assert listener.types == ["completed"]


def test_the_end_of_a_job_that_is_not_kept_is_told_to_one_who_comes_back(api: Api, board: Board) -> None:
    job_id = submit(api, options={"removeOnComplete": True})
    with Listener(api, f"/v1/jobs/{job_id}/events") as listener:
        listener.until_types("waiting")
    board.complete(board.claim(), 1)
    with Listener(api, f"/v1/jobs/{job_id}/events", after=listener.told[0].id) as again:
        again.until_ended()
    assert again.types == ["active", "completed"]
    gone = Listener(api, f"/v1/jobs/{job_id}/events", after=again.told[-1].id).response
    problem(gone, 404, "not-found")


@pytest.mark.parametrize("job_id", ["nobody", "%00", "a%20b"])
def test_there_is_no_stream_of_a_job_that_does_not_exist(api: Api, job_id: str) -> None:
    problem(api.get(f"/v1/jobs/{job_id}/events"), 404, "not-found")
    problem(api.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "0-0"}), 404, "not-found")


def test_everything_is_told_to_those_who_ask_for_everything(api: Api, board: Board) -> None:
    with Listener(api, "/v1/events") as listener:
        job_id = submit(api)
        board.fail(board.claim(), "no")
        api.post("/v1/queues/misc/pause")
        api.post("/v1/queues/misc/drain")
        submit(api, options={"jobId": job_id})
        listener.until_types(
            "added", "waiting", "active", "retries-exhausted", "failed", "paused", "drained", "duplicated"
        )
    assert [told.data["jobId"] for told in listener.told[:5]] == [job_id] * 5
    assert (listener.told[5].data["jobId"], listener.told[5].data["queue"]) == (None, "misc")
    assert listener.told[3].data["attemptsMade"] == 1


def test_filters_are_or_inside_a_name_and_and_over_names(api: Api, board: Board) -> None:
    with (
        Listener(api, "/v1/events?queue=a&queue=b&type=added&type=completed") as some,
        Listener(api, "/v1/events?type=completed") as completed,
        Listener(api, "/v1/events?queue=_internal") as internal,
        Listener(api, "/v1/events?type=completed&type=added&queue=last") as last,
    ):
        ids = {queue: submit(api, queue=queue) for queue in ("a", "b", "c", "_internal")}
        for _ in ids:
            board.complete(board.claim(), 1)
        submit(api, queue="last")
        last.until_types("added")
        some.until(lambda each: len(each.told) == 4)
        completed.until(lambda each: len(each.told) == 3)
        internal.until(lambda each: len(each.told) == 4)
    assert {told.data["jobId"] for told in some.told} == {ids["a"], ids["b"]}
    assert {told.type for told in some.told} == {"added", "completed"}
    assert {told.data["jobId"] for told in completed.told} == {ids["a"], ids["b"], ids["c"]}
    assert {told.data["jobId"] for told in internal.told} == {ids["_internal"]}


@pytest.mark.parametrize(
    ("query", "where"), [("type=exploded", ["/type/0"]), ("queue=", ["/queue/0"]), ("since=5", ["/since"])]
)
def test_queries_that_are_not_valid(api: Api, query: str, where: list[str]) -> None:
    response = api.get(f"/v1/events?{query}")
    problem(response, 422, "invalid-input")
    assert pointers(response) == where


def test_nothing_is_lost_or_repeated_by_those_who_come_and_go(api: Api) -> None:
    with Listener(api, "/v1/events?type=added") as listener:
        ids = [submit(api)]
        listener.until_types("added")
    told = list(listener.told)
    for _ in range(5):
        api.post("/v1/jobs/bulk", {"jobs": [JOB] * 300})
        with Listener(api, "/v1/events?type=added", after=told[-1].id) as listener:
            submit(api)
            listener.until(lambda each: len(each.told) >= 301)
        told += listener.told
        assert listener.types == ["added"] * 301
    with Listener(api, "/v1/events?type=added", after=told[-1].id) as listener:
        ids.append(submit(api))
        listener.until_types("added")
    told += listener.told
    assert [told[0].data["jobId"], told[-1].data["jobId"]] == ids
    assert len({each.data["jobId"] for each in told}) == len(told) == 1507
    numbers = [EventId.parse(each.id) for each in told]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("after", ["1-0", "1"])
def test_a_history_that_does_not_reach_back_so_far_is_told(api: Api, store: Store, after: str) -> None:
    for _ in range(10):
        submit(api)
    store.redis.xtrim(store.keys.single("events"), maxlen=3, approximate=False)
    with Listener(api, "/v1/events", after=after) as listener:
        listener.until_types("reset", *["added", "waiting"] * 3)
    assert listener.told[0].data["type"] == "reset"
    assert listener.told[0].data["jobId"] is None


@pytest.mark.parametrize(
    "after", ["nonsense", "-1", "5-", "99999999999999999999", "9999999999999-0", "1-2-3", "1-2.", "1-2.x", "é"]
)
def test_an_id_that_is_none_of_ours_is_a_history_that_is_missing(api: Api, after: str) -> None:
    job_id = submit(api)
    with Listener(api, "/v1/events", after=after.encode()) as listener:  # type: ignore[arg-type]  # beyond latin-1
        listener.until_types("reset")
        submit(api)
        listener.until_types("reset", "added", "waiting")
    with Listener(api, f"/v1/jobs/{job_id}/events", after=after.encode()) as listener:  # type: ignore[arg-type]
        listener.until_types("reset", "waiting")
    assert listener.told[0].data["jobId"] == job_id


def test_the_whole_history_is_told_without_a_reset_while_it_is_whole(api: Api) -> None:
    submit(api)
    with Listener(api, "/v1/events", after="0-0") as listener:
        listener.until_types("added", "waiting")


def test_many_listen_at_once_and_hear_the_same(api: Api) -> None:
    listeners = [Listener(api, "/v1/events?type=added") for _ in range(60)]
    followers = [Listener(api, f"/v1/jobs/{submit(api)}/events") for _ in range(10)]
    for _ in range(10):
        api.post("/v1/jobs/bulk", {"jobs": [JOB] * 50})
    for listener in listeners:
        listener.until(lambda each: len(each.told) == 510)
    assert len({tuple(told.id for told in listener.told) for listener in listeners}) == 1
    for follower in followers:
        follower.until_types("waiting")
    for listener in (*listeners, *followers):
        listener.close()


def test_one_who_does_not_read_holds_up_nobody_and_hears_all_in_the_end(api: Api) -> None:
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(60)
        slow.connect(("127.0.0.1", api.port))
        slow.sendall(b"GET /v1/events?type=added&type=waiting HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heard = slow.recv(1)
        with Listener(api, "/v1/events?type=added") as quick:
            for _ in range(4):
                api.post("/v1/jobs/bulk", {"jobs": [JOB] * 1000})
            submit(api)
            quick.until(lambda each: len(each.told) == 4001)
        while heard.count(b"\nevent: ") < 8002:
            heard += slow.recv(1 << 20)
    ids = [EventId.parse(event_id.decode()) for event_id in re.findall(rb"\nid: (\S+)", heard)]
    assert ids == sorted(set(ids))
    assert b"event: reset" not in heard


def test_head_asks_whether_there_is_a_stream_and_holds_nothing(api: Api) -> None:
    job_id = submit(api)
    for path in ("/v1/events", f"/v1/jobs/{job_id}/events"):
        response = api.session.head(f"{api.url}{path}", timeout=30)
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["Content-Type"] == "text/event-stream"


@pytest.fixture
def small_api(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[tuple[Api, Store]]:
    """An API of two processes with seats for three, and a quick heart, on a server of its own."""
    with connect(own_server.url) as client:
        store = Store(client, prefix="small")
        store.job_types.publish("test-worker", TYPES, ttl_seconds=3600)
        settings = {
            "BACKROOM_API_PROCESSES": "2",
            "BACKROOM_API_MAX_WAITS": "3",
            "BACKROOM_API_HEARTBEAT_SECONDS": "0.2",
        }
        with Api(tmp_path, own_server.url, "small", **settings) as api:
            yield api, store


def test_a_stream_on_which_nothing_happens_shows_that_it_lives(small_api: tuple[Api, Store]) -> None:
    api, _ = small_api
    with Listener(api, "/v1/events") as listener:
        listener.until(lambda each: each.lines.count(": heartbeat") >= 3)
        submit(api)
        listener.until_types("added", "waiting")


def test_no_more_listen_than_may_and_a_seat_that_is_left_is_free(small_api: tuple[Api, Store]) -> None:
    api, _ = small_api
    listeners = [Listener(api, "/v1/events") for _ in range(3)]
    for path in ("/v1/events", f"/v1/jobs/{submit(api)}/events"):
        for _ in range(4):  # whichever process is asked
            with api.session:
                problem(api.get(path), 503, "too-many-waits")
    problem(api.post("/v1/jobs", JOB, headers={"Prefer": "wait=5"}), 503, "too-many-waits")
    assert api.session.head(f"{api.url}/v1/events", timeout=30).status_code == 503
    for listener in listeners:
        listener.close()
    deadline = monotonic() + 60  # a process hears in its own time that they have left
    while True:
        with api.get("/v1/events", stream=True) as another:
            if another.status_code == 200:
                break
        assert monotonic() < deadline


def test_one_who_has_gone_is_noticed_before_the_heart_beats(api: Api, store: Store) -> None:
    with Listener(api, "/v1/events"):
        wait_for_readers(store, present=True)
    wait_for_readers(store, present=False)


def wait_for_readers(store: Store, *, present: bool) -> None:
    """Wait until the API reads events, or has stopped to."""
    deadline = monotonic() + 60
    while any("b" in client["flags"] for client in store.redis.client_list()) != present:  # blocked, in XREAD
        assert monotonic() < deadline


def test_streams_end_when_the_api_is_stopped(small_api: tuple[Api, Store]) -> None:
    api, _ = small_api
    with Listener(api, "/v1/events") as everything, Listener(api, f"/v1/jobs/{submit(api)}/events") as one:
        one.until_types("waiting")
        api.ask_to_stop()
        everything.until_ended()
        one.until_ended()
    assert api.wait_until_stopped() == 0


def test_a_stream_outlives_an_outage_of_the_store(small_api: tuple[Api, Store], own_server: EmbeddedServer) -> None:
    api, _ = small_api
    job_id = submit(api)
    with Listener(api, "/v1/events") as everything, Listener(api, f"/v1/jobs/{job_id}/events") as one:
        one.until_types("waiting")
        own_server.kill()
        problem(api.get("/v1/events"), 503, "store-unavailable")
        own_server.start()
        api.post(f"/v1/jobs/{job_id}/cancel")
        one.until_types("waiting", "cancelled")
        everything.until_types("cancelled")
