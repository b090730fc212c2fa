"""Jobs go in: one by one, in bulk, and by the quick door."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from backroom.model.job_types import JobType
from backroom.store import Store
from tests.integration.api.service import Api, pointers, problem

BIG = 123456789012345678901234567890


def test_the_quick_door_makes_a_heavy_task(api: Api) -> None:
    response = api.post("/jobs/enqueue", {"userId": "u1", "payload": {"rounds": 3}})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert job["name"] == "heavy-task"
    assert job["queue"] == "default"
    assert job["state"] == "waiting"
    assert job["data"] == {"userId": "u1", "payload": {"rounds": 3}}
    assert job["duplicate"] is False
    assert api.get(response.headers["Location"]).json()["id"] == job["id"]


def test_the_options_of_the_type_apply_where_the_job_has_none(api: Api) -> None:
    body = {"name": "heavy-task", "data": {"userId": "u1", "payload": {}}, "options": {"attempts": 5}}
    job = api.post("/v1/jobs", body).json()
    assert job["options"] == {"attempts": 5, "backoff": {"type": "exponential", "delay": 1000}, "priority": 7}
    assert (job["attempts"], job["priority"]) == (5, 7)


def test_a_queue_of_its_own_wins_over_that_of_the_type(api: Api) -> None:
    assert api.post("/v1/jobs", {"name": "anything", "data": 1}).json()["queue"] == "misc"
    assert api.post("/v1/jobs", {"name": "anything", "data": 1, "queue": "other"}).json()["queue"] == "other"


@pytest.mark.parametrize("data", [None, True, "text", 1.5, -0.0, BIG, -BIG, [BIG, {"n": BIG}], "\u0000\u2028é😀", {}])
def test_any_json_value_comes_back_as_it_was_sent(api: Api, data: object) -> None:
    job = api.post("/v1/jobs", {"name": "anything", "data": data}).json()
    assert job["data"] == data
    assert repr(api.get(f"/v1/jobs/{job['id']}").json()["data"]) == repr(data)


@pytest.mark.parametrize("when", [{"delay": 3_600_000}, {"runAt": "2090-01-01T00:00:00.000001Z"}])
def test_a_delayed_job_is_answered_with_the_time_at_which_it_is_due(api: Api, when: dict[str, object]) -> None:
    for _ in range(10):  # at different µs of a ms
        answered = api.post("/v1/jobs", {"name": "anything", "data": 1, "options": when}).json()
        read = api.get(f"/v1/jobs/{answered['id']}").json()
        assert answered["runAt"] is not None
        for name in ("runAt", "stateReason", "createdAt", "options"):
            assert answered[name] == read[name]


def test_a_job_id_in_use_answers_the_job_that_has_it(api: Api) -> None:
    first = api.post("/v1/jobs", {"name": "anything", "data": 1, "options": {"jobId": "order-7"}})
    second = api.post("/v1/jobs", {"name": "anything", "data": 2, "options": {"jobId": "order-7"}})
    assert (first.status_code, first.json()["duplicate"]) == (202, False)
    assert (second.status_code, second.json()["duplicate"]) == (200, True)
    assert second.json()["data"] == 1
    assert second.headers["Location"] == "/v1/jobs/order-7"


def test_fifty_callers_with_one_job_id_make_one_job(api: Api, store: Store) -> None:
    def submit(number: int) -> tuple[int, bool]:
        response = api.post("/v1/jobs", {"name": "anything", "data": number, "options": {"jobId": "one"}})
        return response.status_code, response.json()["duplicate"]

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(submit, range(50)))
    assert sorted(answers) == [(200, True)] * 49 + [(202, False)]
    assert sum(store.queues.get("misc").counts.values()) == 1


def test_a_delayed_job_says_when_it_is_due(api: Api) -> None:
    job = api.post("/v1/jobs", {"name": "anything", "data": 1, "options": {"delay": 60_000}}).json()
    assert job["state"] == "delayed"
    assert job["runAt"] > job["createdAt"]
    assert job["stateReason"]["code"] == "delayed"


def test_a_trace_is_kept_and_one_that_is_not_valid_is_left_out(api: Api) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    body = {"name": "anything", "data": 1}
    assert api.post("/v1/jobs", body, headers={"traceparent": trace}).json()["traceId"] == trace.split("-")[1]
    assert api.post("/v1/jobs", body, headers={"traceparent": "00-nonsense"}).json()["traceId"] is None


def test_bulk_answers_in_the_order_of_the_request(api: Api) -> None:
    api.post("/v1/jobs", {"name": "anything", "data": 0, "options": {"jobId": "b"}})
    jobs = [{"name": "anything", "data": n, "options": {"jobId": job_id}} for n, job_id in enumerate("abca")]
    jobs.append({"name": "anything", "data": 9, "options": {"jobId": "d", "delay": 1000}})
    response = api.post("/v1/jobs/bulk", {"jobs": jobs})
    assert response.status_code == 202
    assert response.json()["jobs"] == [
        {"id": "a", "state": "waiting", "duplicate": False},
        {"id": "b", "state": "waiting", "duplicate": True},
        {"id": "c", "state": "waiting", "duplicate": False},
        {"id": "a", "state": "waiting", "duplicate": True},
        {"id": "d", "state": "delayed", "duplicate": False},
    ]


def test_a_thousand_jobs_go_in_at_once(api: Api, store: Store) -> None:
    response = api.post("/v1/jobs/bulk", {"jobs": [{"name": "anything", "data": {"n": n}} for n in range(1000)]})
    assert len({job["id"] for job in response.json()["jobs"]}) == 1000
    assert sum(store.queues.get("misc").counts.values()) == 1000


def test_one_bad_job_in_a_bulk_and_nothing_is_stored(api: Api, store: Store) -> None:
    good = {"name": "anything", "data": 1, "queue": "bulk"}
    jobs = [good, {**good, "options": {"priority": 1.5}}, good, {**good, "name": "unheard-of"}]
    response = api.post("/v1/jobs/bulk", {"jobs": jobs})
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/jobs/1/options/priority"]

    jobs[1] = {"name": "heavy-task", "data": {"userId": "u", "payload": {"rounds": 0}}, "queue": "bulk"}
    response = api.post("/v1/jobs/bulk", {"jobs": jobs})
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/jobs/1/data/payload/rounds", "/jobs/3/name"]

    assert store.queues.names() == []
    assert api.get("/v1/jobs").json() == {"jobs": [], "next": None}


@pytest.mark.parametrize("size", [0, 1001])
def test_a_bulk_has_1_to_1000_jobs(api: Api, store: Store, size: int) -> None:
    response = api.post("/v1/jobs/bulk", {"jobs": [{"name": "anything", "data": 1}] * size})
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/jobs"]
    assert store.queues.names() == []


def test_a_full_queue_takes_no_more_and_says_so(api: Api) -> None:
    api.call("PUT", "/v1/queues/misc/limits", json={"maxLength": 2})
    response = api.post("/v1/jobs/bulk", {"jobs": [{"name": "anything", "data": 1}] * 3})
    problem(response, 503, "queue-full")
    assert api.post("/v1/jobs/bulk", {"jobs": [{"name": "anything", "data": 1}] * 2}).status_code == 202
    assert "limit of 2" in problem(api.post("/v1/jobs", {"name": "anything", "data": 1}), 503, "queue-full")["detail"]


def test_a_type_that_has_just_been_published_is_known_at_once(api: Api, store: Store) -> None:
    body = {"name": "brand-new", "data": 1}
    problem(api.post("/v1/jobs", body), 422, "invalid-input")
    store.job_types.publish("other-worker", [JobType(name="brand-new", queue="new")], ttl_seconds=60)
    assert api.post("/v1/jobs", body).json()["queue"] == "new"
