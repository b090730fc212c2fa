"""Changing jobs that have not been started."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from backroom.model.job_types import JobType
from backroom.store import Store
from tests.integration.api.board import Board
from tests.integration.api.service import Api, pointers, problem

HEAVY = {"userId": "ann", "payload": {"rounds": 3}}


def submit(api: Api, data: object = None, **options: object) -> tuple[str, str]:
    """Submit a job with options; its id and its ETag."""
    job_id = api.post("/v1/jobs", {"name": "anything", "data": data, "options": options}).json()["id"]
    return job_id, api.get(f"/v1/jobs/{job_id}").headers["ETag"]


def change(api: Api, job_id: str, etag: str | None, **body: object) -> requests.Response:
    return api.call("PATCH", f"/v1/jobs/{job_id}", json=body, headers={"If-Match": etag} if etag else {})


def test_data_priority_and_tags_are_changed_and_the_rest_stays(api: Api, board: Board) -> None:
    job_id, etag = submit(api, {"n": 1}, priority=5, tags=["old"], attempts=4)
    other, _ = submit(api, priority=3)
    response = change(api, job_id, etag, data=[None], priority=1, tags=["new", "newer", "new"])
    assert response.status_code == 200
    job = response.json()
    assert (job["data"], job["priority"], job["tags"], job["attempts"]) == ([None], 1, ["new", "newer"], 4)
    assert job["options"] == {"priority": 1, "tags": ["new", "newer"], "attempts": 4}
    read = api.get(f"/v1/jobs/{job_id}")
    assert (read.json()["data"], read.headers["ETag"]) == ([None], response.headers["ETag"])
    assert [each["id"] for each in api.get("/v1/jobs?tag=newer").json()["jobs"]] == [job_id]
    assert api.get("/v1/jobs?tag=old").json()["jobs"] == []
    assert [board.claim().id, board.claim().id] == [job_id, other]


def test_a_delayed_job_is_changed_too_and_null_is_data_like_any_other(api: Api) -> None:
    job_id, etag = submit(api, {"n": 1}, delay=60_000, tags=["x"])
    job = change(api, job_id, etag, data=None, tags=[]).json()
    assert (job["state"], job["data"], job["tags"]) == ("delayed", None, [])


def test_a_change_on_top_of_one_that_was_not_seen_is_refused(api: Api) -> None:
    job_id, etag = submit(api, 1)
    assert change(api, job_id, etag, data=2).status_code == 200
    problem(change(api, job_id, etag, data=3), 412, "precondition-failed")
    assert api.get(f"/v1/jobs/{job_id}").json()["data"] == 2


@pytest.mark.parametrize("wanted", ['"other-0"', "nonsense", "W/{}", '"', ""])
def test_tags_that_are_not_the_jobs_match_nothing(api: Api, wanted: str) -> None:
    job_id, etag = submit(api, 1)
    headers = {"If-Match": wanted.format(etag)}
    response = api.call("PATCH", f"/v1/jobs/{job_id}", json={"data": 2}, headers=headers)
    problem(response, 412, "precondition-failed")
    assert change(api, job_id, f'"other-0", {etag}', data=2).status_code == 200


def test_any_version_will_do_for_a_star(api: Api) -> None:
    job_id, _ = submit(api, 1)
    assert change(api, job_id, "*", data=2).json()["data"] == 2


def test_without_a_precondition_nothing_is_changed(api: Api) -> None:
    job_id, _ = submit(api, 1)
    problem(change(api, job_id, None, data=2), 428, "precondition-required")
    problem(change(api, "nobody", None, data=2), 404, "not-found")
    problem(change(api, "nobody", "*", data=2), 404, "not-found")


def test_a_queue_that_is_paused_meanwhile_has_not_changed_its_jobs(api: Api) -> None:
    job_id, etag = submit(api, 1)
    api.post("/v1/queues/misc/pause")
    assert change(api, job_id, etag, data=2).status_code == 200


def test_jobs_that_run_or_have_finished_are_not_changed(api: Api, board: Board) -> None:
    job_id, etag = submit(api, 1)
    claimed = board.claim()
    problem(change(api, job_id, etag, data=2), 409, "wrong-state")
    board.complete(claimed, 1)
    for tag in (etag, "*"):
        problem(change(api, job_id, tag, data=2), 409, "wrong-state")
    assert api.get(f"/v1/jobs/{job_id}").json()["data"] == 1


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, [""]),
        ({"priority": None, "tags": None}, [""]),
        ({"priority": -1}, ["/priority"]),
        ({"priority": 2_097_152}, ["/priority"]),
        ({"priority": "1"}, ["/priority"]),
        ({"tags": ["t"] * 11}, ["/tags"]),
        ({"tags": ["ok", "\u0007"]}, ["/tags/1"]),
        ({"tags": "t"}, ["/tags"]),
        ({"attempts": 3}, ["/attempts"]),
        ({"data": {"userId": 5, "payload": {"rounds": 0}}}, ["/data/payload/rounds", "/data/userId"]),
        ({"data": []}, ["/data"]),
    ],
)
def test_changes_that_are_not_valid(api: Api, body: object, where: list[str]) -> None:
    job = api.post("/v1/jobs", {"name": "heavy-task", "data": HEAVY}).json()
    response = api.call("PATCH", f"/v1/jobs/{job['id']}", json=body, headers={"If-Match": "*"})
    problem(response, 422, "invalid-input")
    assert sorted(pointers(response)) == where
    assert api.get(f"/v1/jobs/{job['id']}").json()["data"] == HEAVY


def test_data_above_its_limits_is_refused_as_it_is_in_a_submission(api: Api) -> None:
    job_id, _ = submit(api, 1)
    response = change(api, job_id, "*", data="x" * 256 * 1024)
    assert "limit is 262144 bytes" in problem(response, 413, "too-large")["detail"]
    deep = b'{"data": ' + b"[" * 65 + b"]" * 65 + b"}"
    headers = {"If-Match": "*", "Content-Type": "application/json"}
    response = api.call("PATCH", f"/v1/jobs/{job_id}", data=deep, headers=headers)
    assert response.json()["errors"][0]["code"] == "too-deep"


def test_data_of_a_type_that_nobody_offers_any_more_cannot_be_checked(api: Api, store: Store) -> None:
    store.job_types.publish("other-worker", [JobType(name="short-lived", queue="misc")], ttl_seconds=3600)
    job = api.post("/v1/jobs", {"name": "short-lived", "data": 1}).json()
    store.redis.zrem(store.keys.single("types:seen"), "short-lived")
    store.redis.hdel(store.keys.single("types"), "short-lived")
    store.job_types.publish("other-worker", [JobType(name="newer", queue="misc")], ttl_seconds=3600)
    api.post("/v1/jobs", {"name": "newer", "data": 1})
    response = change(api, job["id"], "*", data=2)
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/data"]
    assert change(api, job["id"], "*", priority=2).status_code == 200


def test_of_many_who_change_the_same_version_one_succeeds(api: Api) -> None:
    job_id, etag = submit(api, 0)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: change(api, job_id, etag, data=n).status_code, range(1, 21)))
    assert sorted(answers) == [200] + [412] * 19
