"""What became of jobs: lists, single jobs, results, logs."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.api.board import Board
from tests.integration.api.service import TYPES, Api, problem


def submit(api: Api, **job: object) -> str:
    """Submit a job; its id."""
    found: str = api.post("/v1/jobs", {"name": "anything", "data": None, **job}).json()["id"]
    return found


def ids(api: Api, query: str = "") -> list[str]:
    return [job["id"] for job in api.get(f"/v1/jobs?{query}").json()["jobs"]]


def test_pages_follow_their_links_to_the_end_without_gap_or_repetition(api: Api) -> None:
    jobs = [{"name": "anything", "data": n, "options": {"jobId": f"j{n}"}} for n in range(7)]
    api.post("/v1/jobs/bulk", {"jobs": jobs})
    seen: list[str] = []
    path = "/v1/jobs?limit=3&queue=misc&queue=other&sort=createdAt"
    pages = 0
    while path:
        response = api.get(path)
        seen += [job["id"] for job in response.json()["jobs"]]
        pages += 1
        submit(api, queue="elsewhere")
        link = response.headers.get("Link")
        if response.json()["next"] is None:
            assert link is None
            break
        assert link is not None
        target, relation = link.split("; ")
        assert relation == 'rel="next"'
        path = target.strip("<>")
        query = parse_qs(urlsplit(path).query)
        assert query["cursor"] == [response.json()["next"]]
        assert query["queue"] == ["misc", "other"]
    assert seen == [f"j{n}" for n in range(7)]
    assert pages == 3


def test_filters_mean_or_inside_a_name_and_and_over_names(api: Api, board: Board) -> None:
    red = submit(api, options={"tags": ["red"], "priority": 1})
    blue = submit(api, options={"tags": ["blue", "round"]}, queue="other")
    heavy = api.post("/jobs/enqueue", {"userId": "ann", "payload": {}}).json()["id"]
    delayed = submit(api, options={"delay": 100_000})
    assert ids(api) == [delayed, heavy, blue, red]
    assert ids(api, "sort=createdAt") == [red, blue, heavy, delayed]
    assert ids(api, "tag=red&tag=blue") == [blue, red]
    assert ids(api, "tag=red&tag=blue&queue=other") == [blue]
    assert ids(api, "name=heavy-task") == [heavy]
    assert ids(api, "userId=ann") == [heavy]
    assert ids(api, "state=delayed") == [delayed]
    assert ids(api, "state=delayed&state=waiting&queue=misc") == [delayed, red]
    assert ids(api, f"q={blue}") == [blue]
    assert ids(api, "q=round") == [blue]
    assert ids(api, "queue=nobody") == []
    created = api.get(f"/v1/jobs/{heavy}").json()["createdAt"]
    assert heavy in ids(api, f"from={created}")
    assert heavy not in ids(api, f"to={created}")


def test_a_completed_job_shows_its_result_and_its_tries(api: Api, board: Board) -> None:
    job_id = submit(api, data={"x": 1})
    board.complete(board.claim(), {"url": "https://example.org", "n": [1, 2.5]})
    job = api.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "completed"
    assert job["result"] == {"url": "https://example.org", "n": [1, 2.5]}
    assert [entry["outcome"] for entry in job["attemptLog"]] == ["completed"]
    assert job["worker"] == "test-worker"
    assert job["finishedAt"] >= job["startedAt"] >= job["createdAt"]
    assert job["links"] == {
        "self": f"/v1/jobs/{job_id}",
        "result": f"/v1/jobs/{job_id}/result",
        "logs": f"/v1/jobs/{job_id}/logs",
        "events": f"/v1/jobs/{job_id}/events",
    }


def test_a_result_is_the_bare_value_once_there_is_one(api: Api, board: Board) -> None:
    job_id = submit(api)
    waiting = api.get(f"/v1/jobs/{job_id}/result")
    assert (waiting.status_code, waiting.json()["state"]) == (202, "waiting")
    assert int(waiting.headers["Retry-After"]) > 0
    claimed = board.claim()
    assert api.get(f"/v1/jobs/{job_id}/result").json()["state"] == "active"
    board.complete(claimed, [None, {"n": 123456789012345678901234567890}])
    done = api.get(f"/v1/jobs/{job_id}/result")
    assert done.status_code == 200
    assert done.headers["Content-Type"] == "application/json"
    assert done.json() == [None, {"n": 123456789012345678901234567890}]


def test_a_result_of_null_is_null(api: Api, board: Board) -> None:
    job_id = submit(api)
    board.complete(board.claim(), None)
    response = api.get(f"/v1/jobs/{job_id}/result")
    assert (response.status_code, response.content) == (200, b"null")


def test_a_job_that_did_not_end_well_has_no_result(api: Api, board: Board) -> None:
    failed = submit(api)
    board.fail(board.claim(), "no such thing")
    cancelled = submit(api)
    api.post(f"/v1/jobs/{cancelled}/cancel")
    assert "failed" in problem(api.get(f"/v1/jobs/{failed}/result"), 409, "wrong-state")["detail"]
    assert "cancelled" in problem(api.get(f"/v1/jobs/{cancelled}/result"), 409, "wrong-state")["detail"]
    error = api.get(f"/v1/jobs/{failed}").json()["error"]
    assert (error["type"], error["message"]) == ("ValueError", "no such thing")


def test_logs_are_read_on_from_where_one_was(api: Api, board: Board) -> None:
    job_id = submit(api)
    job = board.claim()
    assert api.get(f"/v1/jobs/{job_id}/logs").json() == {"logs": [], "next": None}
    board.log(job, "one", "two", "three")
    first = api.get(f"/v1/jobs/{job_id}/logs?limit=2").json()
    assert [(line["seq"], line["message"]) for line in first["logs"]] == [(1, "one"), (2, "two")]
    rest = api.get(f"/v1/jobs/{job_id}/logs?after={first['next']}").json()
    assert [line["message"] for line in rest["logs"]] == ["three"]
    assert rest["next"] is None


@pytest.mark.parametrize("part", ["tries", "logs"])
@pytest.mark.parametrize(
    ("method", "rest", "more"),
    [
        ("GET", "", {}),
        ("GET", "/result", {}),
        ("GET", "/logs", {}),
        ("GET", "/events", {}),
        ("GET", "/events", {"headers": {"Last-Event-ID": "0-0"}}),
        ("POST", "/cancel", {}),
        ("POST", "/retry", {}),
        ("POST", "/promote", {}),
        ("POST", "/reschedule", {"json": {"delay": 1}}),
        ("PATCH", "", {"json": {"priority": 1}, "headers": {"If-Match": "*"}}),
        ("DELETE", "", {}),
    ],
)
def test_what_belongs_to_a_job_is_no_job(
    api: Api, board: Board, part: str, method: str, rest: str, more: dict[str, object]
) -> None:
    job_id = submit(api)
    job = board.claim()
    board.log(job, "one")
    board.fail(job, "no")
    api.post(f"/v1/jobs/{job_id}/retry")
    board.complete(board.claim(), 1)
    problem(api.call(method, f"/v1/jobs/{job_id}:{part}{rest}", **more), 404, "not-found")


def test_an_etag_saves_reading_a_job_that_has_not_changed(api: Api, board: Board) -> None:
    job_id = submit(api)
    first = api.get(f"/v1/jobs/{job_id}")
    etag = first.headers["ETag"]
    unchanged = api.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": f'"other", W/{etag}'})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)

    api.post("/v1/queues/misc/pause")
    paused = api.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})
    assert (paused.status_code, paused.json()["stateReason"]["code"]) == (200, "paused")

    api.post("/v1/queues/misc/resume")
    board.complete(board.claim(), 1)
    done = api.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})
    assert (done.status_code, done.json()["state"]) == (200, "completed")
    assert "Retry-After" in first.headers
    assert "Retry-After" not in done.headers


def test_job_types_are_listed_with_their_schemas(api: Api) -> None:
    listed = api.get("/v1/job-types").json()["jobTypes"]
    assert [one["name"] for one in listed] == ["anything", "heavy-task"]
    assert listed[1]["schema"] == TYPES[0].schema
    assert listed[1]["defaults"] == TYPES[0].defaults


def test_stats_add_up_the_queues(api: Api, board: Board) -> None:
    for queue in ("a", "b", "b"):
        submit(api, queue=queue)
    board.complete(board.claim(), 1)
    api.post("/v1/queues/b/pause")
    stats = api.get("/v1/stats").json()
    assert (stats["counts"]["waiting"], stats["counts"]["completed"]) == (2, 1)
    assert (stats["queues"], stats["pausedQueues"]) == (2, 1)
    assert stats["oldestWaitingMs"] >= 0


def test_an_autoscaler_reads_what_the_work_needs(api: Api, board: Board) -> None:
    for queue in ("a", "a", "a", "b"):
        submit(api, queue=queue)
    board.complete(board.claim(), 1)
    api.post("/v1/queues/b/pause")
    scaling = api.get("/v1/stats/scaling").json()
    first, second = scaling["queues"]
    assert (first["name"], first["ready"], first["running"], first["meanRunMs"]) == ("a", 2, 0, 5)
    assert (first["desiredWorkers"], first["reason"]["code"]) == (1, "backlog")
    assert first["oldestWaitingMs"] >= 0
    assert (second["desiredWorkers"], second["reason"]["code"]) == (0, "paused")
    assert (scaling["desiredWorkers"], scaling["workers"], scaling["drainSeconds"]) == (1, 0, 60)


def test_head_answers_as_get_does_without_a_body(api: Api) -> None:
    job_id = submit(api)
    got, headed = api.get(f"/v1/jobs/{job_id}"), api.session.head(f"{api.url}/v1/jobs/{job_id}", timeout=30)
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["ETag"] == got.headers["ETag"]


@pytest.mark.parametrize("path", ["/", "/docs", "/problems"])
def test_pages_are_there_and_run_no_scripts(api: Api, path: str) -> None:
    submit(api, queue="parcels")
    response = api.get(path)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "<script" not in response.text
    assert ("parcels" in response.text) == (path == "/")
    assert api.session.get(f"{api.url}/static/backroom.css", timeout=30).ok


def test_the_document_is_served_as_it_is_committed(api: Api) -> None:
    served = api.get("/openapi.json").json()
    with open("openapi.json", encoding="utf-8") as committed:  # noqa: PTH123
        assert served == json.load(committed)
