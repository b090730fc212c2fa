"""Schedules over HTTP. Nothing fires here by itself: the tests fire."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backroom.model.schedule import parse_schedule
from backroom.store import Store
from tests.integration.api.board import Board
from tests.integration.api.service import Api, pointers, problem

DAILY = {"pattern": "0 3 * * *", "tz": "Europe/Berlin", "job": {"name": "anything", "data": {"a": 1}}}
OFTEN = {"every": 60_000, "job": {"name": "anything"}}


def put(api: Api, key: str, body: object, status: int = 201) -> dict[str, Any]:
    """Put a schedule; its view."""
    response = api.call("PUT", f"/v1/schedules/{key}", json=body)
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    return found


def listed(api: Api) -> list[str]:
    """The keys of all schedules."""
    return [schedule["key"] for schedule in api.get("/v1/schedules").json()["schedules"]]


def test_a_schedule_is_made_and_read(api: Api) -> None:
    response = api.call("PUT", "/v1/schedules/nightly", json=DAILY)
    assert (response.status_code, response.headers["Location"]) == (201, "/v1/schedules/nightly")
    schedule = response.json()
    slots = [datetime.fromisoformat(slot) for slot in schedule.pop("next")]
    assert schedule == {
        "key": "nightly",
        "pattern": "0 3 * * *",
        "every": None,
        "tz": "Europe/Berlin",
        "description": "At 03:00 (Europe/Berlin)",
        "job": {"name": "anything", "queue": "misc", "options": {}, "data": {"a": 1}},
        "startDate": None,
        "endDate": None,
        "limit": None,
        "misfire": "one",
        "overlap": True,
        "paused": False,
        "state": "active",
        "lastFires": [],
        "fireCount": 0,
    }
    assert len(slots) == 5
    assert slots == sorted(slots)
    assert datetime.now(UTC) < slots[0] < datetime.now(UTC) + timedelta(hours=26)
    assert api.get("/v1/schedules/nightly").json() == response.json()
    assert listed(api) == ["nightly"]


def test_every_field_comes_back_as_it_was_put(api: Api) -> None:
    fields = {
        "every": 3_600_000,
        "startDate": "2030-01-31T09:00:00.000Z",
        "endDate": "2031-01-31T09:00:00.000Z",
        "limit": 7,
        "misfire": "all",
        "overlap": False,
        "paused": True,
    }
    options = {"attempts": 2, "backoff": {"type": "fixed", "delay": 5, "jitter": 0.0}, "tags": ["a"], "priority": 3}
    job = {"name": "anything", "data": [1, None], "queue": "other", "options": options}
    schedule = put(api, "all", {**fields, "job": job})
    assert {name: schedule[name] for name in fields} == fields
    assert schedule["job"] == job
    assert (schedule["state"], schedule["next"]) == ("paused", [])


def test_putting_the_same_again_changes_nothing(api: Api) -> None:
    first = put(api, "often", OFTEN)
    assert put(api, "often", OFTEN, 200) == first


def test_another_interval_begins_anew_at_once(api: Api, store: Store) -> None:
    put(api, "often", {**OFTEN, "every": 3_600_000})
    assert store.schedules.fire_due()[0] == 1
    schedule = put(api, "often", {**OFTEN, "every": 120_000}, 200)
    assert schedule["fireCount"] == 1
    assert store.schedules.fire_due()[0] == 1


def test_a_job_has_the_defaults_of_its_type_unless_the_schedule_says_otherwise(api: Api, board: Board) -> None:
    data = {"userId": "u", "payload": {}}
    put(api, "heavy", {**OFTEN, "job": {"name": "heavy-task", "data": data, "options": {"priority": 1}}})
    assert api.get("/v1/schedules/heavy").json()["job"]["options"] == {"priority": 1}
    job = api.post("/v1/schedules/heavy/run").json()
    assert (job["queue"], job["attempts"], job["priority"]) == ("default", 3, 1)
    assert job["options"]["backoff"] == {"type": "exponential", "delay": 1000}
    assert board.claim().id == job["id"]


def test_numbers_and_nulls_of_the_data_are_kept(api: Api) -> None:
    body = b'{"every":60000,"job":{"name":"anything","data":{"big":123456789012345678901,"f":1.0,"n":null,"e":1e2}}}'
    headers = {"Content-Type": "application/json"}
    assert api.call("PUT", "/v1/schedules/exact", data=body, headers=headers).status_code == 201
    job_id = api.post("/v1/schedules/exact/run").json()["id"]
    for text in (api.get("/v1/schedules/exact").text, api.get(f"/v1/jobs/{job_id}").text):
        assert '"big":123456789012345678901,"f":1.0,"n":null,"e":100.0' in text.replace(": ", ":").replace(", ", ",")
    assert put(api, "nothing", {**OFTEN, "job": {"name": "anything", "data": None}})["job"]["data"] is None


REFUSED: dict[str, tuple[Any, list[str]]] = {
    "no rhythm": ({"job": {"name": "anything"}}, ["/pattern"]),
    "two rhythms": ({**DAILY, "every": 1000}, ["/every"]),
    "no job": ({"every": 1000}, ["/job"]),
    "no name": ({"every": 1000, "job": {}}, ["/job/name"]),
    "an unknown field": ({**OFTEN, "patern": "* * * * *"}, ["/patern"]),
    "an unknown field of the job": ({"every": 1000, "job": {"name": "anything", "payload": 1}}, ["/job/payload"]),
    "a field in Python's words": ({**OFTEN, "start_date": "2030-01-01T00:00:00Z"}, ["/start_date"]),
    "an unknown job type": ({"every": 1000, "job": {"name": "missing"}}, ["/job/name"]),
    "data its type refuses": (
        {"every": 1000, "job": {"name": "heavy-task", "data": {}}},
        ["/job/data/userId", "/job/data/payload"],
    ),
    "a bad queue": ({"every": 1000, "job": {"name": "anything", "queue": "a b"}}, ["/job/queue"]),
    "an unknown option": (
        {"every": 1000, "job": {"name": "anything", "options": {"atempts": 1}}},
        ["/job/options/atempts"],
    ),
    "an id": ({"every": 1000, "job": {"name": "anything", "options": {"jobId": "x"}}}, ["/job/options/jobId"]),
    "a delay": ({"every": 1000, "job": {"name": "anything", "options": {"delay": 1}}}, ["/job/options/delay"]),
    "a time": (
        {"every": 1000, "job": {"name": "anything", "options": {"runAt": "2030-01-01T00:00:00Z"}}},
        ["/job/options/runAt"],
    ),
    "too short an interval": ({**OFTEN, "every": 99}, ["/every"]),
    "an interval of no whole number": ({**OFTEN, "every": 1000.5}, ["/every"]),
    "an interval as text": ({**OFTEN, "every": "1000"}, ["/every"]),
    "a pattern of four fields": ({**DAILY, "pattern": "* * * *"}, ["/pattern"]),
    "a pattern that never comes": ({**DAILY, "pattern": "0 0 30 2 *"}, ["/pattern"]),
    "an endless pattern": ({**DAILY, "pattern": "1," * 100_000 + "1 * * * *"}, ["/pattern"]),
    "an unknown time zone": ({**DAILY, "tz": "Mars/Olympus"}, ["/tz"]),
    "a time zone that is a path": ({**DAILY, "tz": "../../etc/passwd"}, ["/tz"]),
    "an end before the start": (
        {**OFTEN, "startDate": "2030-01-02T00:00:00Z", "endDate": "2030-01-01T00:00:00Z"},
        ["/endDate"],
    ),
    "a start as a number": ({**OFTEN, "startDate": 1_900_000_000}, ["/startDate"]),
    "a start as a number in text": ({**OFTEN, "startDate": "1900000000"}, ["/startDate"]),
    "a start without a zone": ({**OFTEN, "startDate": "2030-01-02T00:00:00"}, ["/startDate"]),
    "a start beyond all time": ({**OFTEN, "startDate": "9999-12-31T23:59:59-14:00"}, ["/startDate"]),
    "a limit of none": ({**OFTEN, "limit": 0}, ["/limit"]),
    "an unknown misfire policy": ({**OFTEN, "misfire": "some"}, ["/misfire"]),
    "paused as text": ({**OFTEN, "paused": "yes"}, ["/paused"]),
    "no object": ([], [""]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_stored(api: Api, case: str) -> None:
    body, expected = REFUSED[case]
    response = api.call("PUT", "/v1/schedules/refused", json=body)
    problem(response, 422, "invalid-input")
    assert pointers(response) == expected
    assert listed(api) == []


def test_everything_that_is_wrong_is_said_at_once(api: Api) -> None:
    body = {"every": 1, "tz": 5, "job": {"name": "anything", "options": {"delay": 1, "x": 1}}, "limit": 0}
    response = api.call("PUT", "/v1/schedules/refused", json=body)
    assert pointers(response) == ["/every", "/tz", "/limit", "/job/options/x"]


@pytest.mark.parametrize("key", ["a b", "a:b", "é", "x" * 129])
def test_a_key_is_a_name(api: Api, key: str) -> None:
    response = api.call("PUT", f"/v1/schedules/{key}", json=OFTEN)
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/key"]


def test_a_template_has_the_limit_of_a_job(api: Api) -> None:
    big = {**OFTEN, "job": {"name": "anything", "data": "x" * 262_144}}
    assert "/job/data" in problem(api.call("PUT", "/v1/schedules/big", json=big), 413, "too-large")["detail"]


def test_a_schedule_is_paused_and_resumed(api: Api, store: Store) -> None:
    put(api, "often", OFTEN)
    paused = api.post("/v1/schedules/often/pause")
    assert (paused.status_code, paused.json()["state"], paused.json()["paused"]) == (200, "paused", True)
    assert store.schedules.fire_due() == (0, None)
    assert put(api, "often", OFTEN, 200)["state"] == "paused"  # what does not say so leaves it paused
    resumed = api.post("/v1/schedules/often/resume")
    assert (resumed.status_code, resumed.json()["state"]) == (200, "active")
    assert datetime.fromisoformat(resumed.json()["next"][0]) > datetime.now(UTC)
    assert put(api, "often", {**OFTEN, "paused": True}, 200)["state"] == "paused"
    assert put(api, "often", {**OFTEN, "paused": False}, 200)["state"] == "active"


def test_a_schedule_is_run_now_and_its_slots_stay(api: Api, store: Store) -> None:
    before = put(api, "nightly", DAILY)
    response = api.post("/v1/schedules/nightly/run")
    job = response.json()
    assert (response.status_code, response.headers["Location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["name"], job["data"], job["state"]) == ("anything", {"a": 1}, "waiting")
    after = api.get("/v1/schedules/nightly").json()
    assert (after["next"], after["fireCount"]) == (before["next"], 0)
    [fire] = after["lastFires"]
    assert (fire["slot"], fire["jobId"]) == (None, job["id"])
    api.post("/v1/schedules/nightly/pause")
    assert api.post("/v1/schedules/nightly/run").status_code == 202


def test_a_run_that_is_asked_for_twice_under_one_key_is_made_once(api: Api, store: Store) -> None:
    put(api, "nightly", DAILY)
    first, again = [api.post("/v1/schedules/nightly/run", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(api.get("/v1/schedules/nightly").json()["lastFires"]) == 1


def test_a_job_that_is_not_kept_is_answered_all_the_same(api: Api, board: Board) -> None:
    put(api, "brief", {**OFTEN, "job": {"name": "anything", "data": [1], "options": {"removeOnComplete": True}}})
    key = {"Idempotency-Key": "k"}
    job = api.post("/v1/schedules/brief/run", headers=key).json()
    board.complete(board.claim(), 1)
    problem(api.get(f"/v1/jobs/{job['id']}"), 404, "not-found")
    assert api.post("/v1/schedules/brief/run", headers=key).json() == job


def test_fires_are_shown(api: Api, store: Store) -> None:
    put(api, "thrice", {**OFTEN, "limit": 1})
    assert store.schedules.fire_due()[0] == 1
    schedule = api.get("/v1/schedules/thrice").json()
    assert (schedule["state"], schedule["next"], schedule["fireCount"]) == ("finished", [], 1)
    [fire] = schedule["lastFires"]
    assert api.get(f"/v1/jobs/{fire['jobId']}").json()["name"] == "anything"
    assert fire["at"] >= fire["slot"]


def test_a_schedule_is_removed_and_its_jobs_stay(api: Api) -> None:
    put(api, "nightly", DAILY)
    job_id = api.post("/v1/schedules/nightly/run").json()["id"]
    assert api.call("DELETE", "/v1/schedules/nightly").status_code == 204
    assert listed(api) == []
    assert api.get(f"/v1/jobs/{job_id}").status_code == 200


@pytest.mark.parametrize("key", ["missing", "there:fires"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/run")]
)
def test_one_that_is_not_there_is_not_found(api: Api, method: str, path: str, key: str) -> None:
    put(api, "there", DAILY)
    api.post("/v1/schedules/there/run")
    problem(api.call(method, f"/v1/schedules/{key}{path}"), 404, "not-found")


@pytest.mark.parametrize("origin", ["code", "celery"])
def test_schedules_of_code_can_be_read_paused_and_run_but_not_edited(api: Api, store: Store, origin: str) -> None:
    spec = parse_schedule({**OFTEN, "job": {"name": "anything", "queue": "misc"}})
    if origin == "code":
        store.schedules.put_code({"anything": spec}, ["anything"])
    else:
        store.schedules.put_celery({"anything": spec}, owner="app")
    key = f"{origin}:anything"
    assert api.get(f"/v1/schedules/{key}").json()["key"] == key
    assert api.get(f"/v1/schedules/{key.replace(':', '%3A')}").json()["key"] == key
    assert listed(api) == [key]
    assert api.post(f"/v1/schedules/{key}/pause").json()["state"] == "paused"
    assert api.post(f"/v1/schedules/{key}/resume").json()["state"] == "active"
    assert api.post(f"/v1/schedules/{key}/run").status_code == 202
    refused = problem(api.call("PUT", f"/v1/schedules/{key}", json=OFTEN), 409, "defined-in-code")
    assert key in refused["detail"]
    problem(api.call("DELETE", f"/v1/schedules/{key}"), 409, "defined-in-code")
    assert listed(api) == [key]


def test_a_schedule_of_code_whose_job_type_is_gone_can_be_removed(api: Api, store: Store) -> None:
    spec = parse_schedule({**OFTEN, "job": {"name": "gone"}})
    store.schedules.put_code({"gone": spec}, [])
    assert api.call("DELETE", "/v1/schedules/code:gone").status_code == 204


def test_schedules_are_listed_by_creation_page_by_page_while_others_come_and_go(api: Api) -> None:
    for number in range(7):
        put(api, f"s{number}", OFTEN)
    found, path = [], "/v1/schedules?limit=3"
    while path:
        page = api.get(path)
        found += [schedule["key"] for schedule in page.json()["schedules"]]
        assert (page.json()["next"] is None) == ("next" not in page.links)
        path = page.links["next"]["url"] if page.links else ""
        if len(found) == 3:
            put(api, "later", OFTEN)
            put(api, "s1", OFTEN, 200)  # once more: it keeps its place
            for gone in ("s2", "s4"):
                assert api.call("DELETE", f"/v1/schedules/{gone}").status_code == 204
    assert found == ["s0", "s1", "s2", "s3", "s5", "s6", "later"]


@pytest.mark.parametrize(
    ("query", "where"),
    [("limit=0", "/limit"), ("limit=201", "/limit"), ("cursor=nonsense", "/cursor"), ("page=2", "/page")],
)
def test_pages_of_schedules_that_are_none(api: Api, query: str, where: str) -> None:
    response = api.get(f"/v1/schedules?{query}")
    problem(response, 422, "invalid-input")
    assert pointers(response) == [where]
