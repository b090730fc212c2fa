"""Webhooks over HTTP: endpoints, secrets, the log of deliveries, and everything that is refused."""

from typing import Any, Final

import pytest

from backroom.store import Store
from backroom.store.deliveries import Try
from backroom.store.webhooks import MAX_ENDPOINTS
from tests.integration.api.board import Board
from tests.integration.api.service import Api, pointers, problem

URL: Final = "https://shop.example/hooks"
JOB: Final = {"name": "anything", "data": {"n": 1}}
TRY: Final = Try(at=1_700_000_000_000, status=500, duration_ms=12, error="answered 500")


def create(api: Api, **changes: Any) -> dict[str, Any]:
    response = api.post("/v1/webhooks", {"url": URL, "events": ["completed"], **changes})
    assert response.status_code == 201
    body: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"/v1/webhooks/{body['id']}"
    return body


def a_delivery(api: Api, board: Board, store: Store, **options: Any) -> dict[str, Any]:
    """A job that completes, and what is told of it; its delivery by the API's answer."""
    job_id = api.post("/v1/jobs", {**JOB, "options": options}).json()["id"]
    while (claimed := board.claim()).id != job_id:
        assert claimed.queue == "_internal"  # an earlier delivery: it is left alone
    board.complete(claimed, "done")
    while store.outbox.dispatch():
        pass
    lists = ["/v1/webhooks/deliveries"]
    lists += [f"/v1/webhooks/{each['id']}/deliveries" for each in api.get("/v1/webhooks").json()["webhooks"]]
    found = [each for path in lists for each in api.get(path).json()["deliveries"] if each["jobId"] == job_id]
    return found[0]


def test_an_endpoint_is_created_read_changed_and_removed(api: Api) -> None:
    made = create(api, description="shop")
    assert made.pop("secret").startswith("whsec_")
    path = f"/v1/webhooks/{made['id']}"
    assert (made["enabled"], made["events"], made["description"]) == (True, ["completed"], "shop")
    assert api.get(path).json() == made
    assert api.get("/v1/webhooks").json() == {"webhooks": [made]}

    changed = api.call("PATCH", path, json={"events": ["failed", "cancelled"], "enabled": False}).json()
    assert (changed["url"], changed["events"]) == (URL, ["failed", "cancelled"])
    assert (changed["enabled"], changed["disabledReason"]) == (False, "by-hand")
    assert changed["disabledAt"]
    again = api.call("PATCH", path, json={"enabled": True}).json()
    assert (again["enabled"], again["disabledReason"], again["disabledAt"]) == (True, None, None)

    assert api.call("DELETE", path).status_code == 204
    problem(api.get(path), 404, "not-found")
    assert api.get("/v1/webhooks").json() == {"webhooks": []}


def test_the_secret_is_shown_once_and_rotated_with_a_day_of_both(api: Api) -> None:
    made = create(api)
    rotated = api.post(f"/v1/webhooks/{made['id']}/rotate-secret").json()

    assert rotated["oldSecret"] == made["secret"] != rotated["secret"]
    assert rotated["oldSecretUntil"]
    shown = api.get(f"/v1/webhooks/{made['id']}").json()
    assert shown["oldSecretUntil"] == rotated["oldSecretUntil"]
    assert "secret" not in shown
    assert made["secret"] not in str(shown)


def test_the_stack_has_a_secret_for_the_jobs_own_webhooks(api: Api) -> None:
    first = api.get("/v1/webhooks/secret").json()
    assert first["secret"].startswith("whsec_")
    assert api.get("/v1/webhooks/secret").json() == first
    rotated = api.post("/v1/webhooks/secret/rotate").json()
    assert rotated["oldSecret"] == first["secret"]
    assert api.get("/v1/webhooks/secret").json() == rotated


def test_deliveries_are_paged_read_and_made_again(api: Api, board: Board, store: Store) -> None:
    webhook = create(api)["id"]
    made = [a_delivery(api, board, store) for _ in range(3)]
    path = f"/v1/webhooks/{webhook}/deliveries"

    first = api.get(f"{path}?limit=2")
    assert [each["id"] for each in first.json()["deliveries"]] == [made[2]["id"], made[1]["id"]]
    assert first.headers["Link"] == f'<{path}?limit=2&cursor={first.json()["next"]}>; rel="next"'
    rest = api.get(f"{path}?limit=2&cursor={first.json()['next']}").json()
    assert ([each["id"] for each in rest["deliveries"]], rest["next"]) == ([made[0]["id"]], None)

    store.deliveries.record(made[1]["id"], TRY, "failed", url=URL)
    pending = api.get(f"{path}?state=pending&limit=1")
    assert [each["id"] for each in pending.json()["deliveries"]] == [made[2]["id"]]
    assert pending.headers["Link"] == f'<{path}?limit=1&state=pending&cursor={pending.json()["next"]}>; rel="next"'
    following = api.get(f"{path}?state=pending&limit=1&cursor={pending.json()['next']}").json()
    assert ([each["id"] for each in following["deliveries"]], following["next"]) == ([made[0]["id"]], None)
    both = api.get(f"{path}?state=failed&state=delivered").json()["deliveries"]
    assert [(each["id"], each["state"]) for each in both] == [(made[1]["id"], "failed")]
    assert api.get("/v1/webhooks/deliveries?state=failed").json()["deliveries"] == []

    one = f"/v1/webhooks/deliveries/{made[0]['id']}"
    store.deliveries.record(made[0]["id"], TRY, "pending", url=URL, next_at=1_700_000_005_000)
    found = api.get(one).json()
    assert (found["endpoint"], found["type"], found["state"]) == (webhook, "job.completed", "pending")
    assert found["attempts"][0]["status"] == 500
    again = api.post(f"{one}/redeliver")
    assert (again.status_code, again.headers["Location"]) == (202, one)
    assert again.json()["webhookId"] == found["webhookId"]
    assert again.json()["nextAttemptAt"] is None


def test_a_job_s_own_webhook_is_kept_with_the_job_and_told_in_a_list_of_its_own(
    api: Api, board: Board, store: Store
) -> None:
    hook = {"url": URL, "events": ["completed"]}
    delivery = a_delivery(api, board, store, webhook=hook)

    assert (delivery["endpoint"], delivery["url"]) == (None, URL)
    assert api.get(f"/v1/jobs/{delivery['jobId']}").json()["options"]["webhook"] == hook


def test_nobody_sees_internal_jobs_who_does_not_ask_for_them(api: Api, board: Board, store: Store) -> None:
    delivery = a_delivery(api, board, store, webhook={"url": URL, "events": ["completed"]})

    assert [job["id"] for job in api.get("/v1/jobs").json()["jobs"]] == [delivery["jobId"]]
    assert [queue["name"] for queue in api.get("/v1/queues").json()["queues"]] == ["misc"]
    assert api.get("/v1/stats").json()["counts"]["waiting"] == 0
    assert "_internal" not in api.get("/metrics").text
    assert "_internal" not in api.get("/v1/stats/scaling").text
    assert "deliver-webhook" not in api.get("/v1/job-types").text
    assert [job["id"] for job in api.get("/v1/jobs?queue=_internal").json()["jobs"]] == [delivery["id"]]
    assert api.get("/v1/queues/_internal").json()["counts"]["waiting"] == 1
    assert api.get(f"/v1/jobs/{delivery['id']}").json()["data"] == {"delivery": delivery["id"]}


def test_the_name_of_the_stack_s_own_job_type_is_no_caller_s(api: Api) -> None:
    body = {"name": "backroom.deliver-webhook", "data": {"delivery": "x"}, "queue": "_internal"}
    for path, sent, where in (
        ("/v1/jobs", body, "/name"),
        ("/v1/jobs/bulk", {"jobs": [JOB, body]}, "/jobs/1/name"),
    ):
        response = api.post(path, sent)
        problem(response, 422, "invalid-input")
        assert pointers(response) == [where]
    schedule = api.call("PUT", "/v1/schedules/sly", json={"every": 60_000, "job": body})
    problem(schedule, 422, "invalid-input")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, {"/url", "/events"}),
        ({"url": URL}, {"/events"}),
        ({"url": URL, "events": []}, {"/events"}),
        ({"url": URL, "events": ["done"]}, {"/events/0"}),
        ({"url": URL, "events": "completed"}, {"/events"}),
        ({"url": "ftp://shop.example/", "events": ["failed"]}, {"/url"}),
        ({"url": "https://u:p@shop.example/", "events": ["failed"]}, {"/url"}),
        ({"url": URL + "#x", "events": ["failed"]}, {"/url"}),
        ({"url": "https://" + "x" * 2100, "events": ["failed"]}, {"/url"}),
        ({"url": URL, "events": ["failed"], "description": "x" * 257}, {"/description"}),
        ({"url": URL, "events": ["failed"], "secret": "whsec_x"}, {"/secret"}),
        ({"url": 5, "events": ["failed"]}, {"/url"}),
    ],
)
def test_an_endpoint_that_makes_no_sense_is_refused(api: Api, body: dict[str, Any], where: set[str]) -> None:
    response = api.post("/v1/webhooks", body)
    problem(response, 422, "invalid-input")
    assert set(pointers(response)) == where
    assert api.get("/v1/webhooks").json() == {"webhooks": []}


@pytest.mark.parametrize(
    ("webhook", "where"),
    [
        ({"url": URL}, {"/options/webhook/events"}),
        ({"url": "nowhere", "events": ["completed"]}, {"/options/webhook/url"}),
        ({"url": URL, "events": ["progress"]}, {"/options/webhook/events/0"}),
        ({"url": URL, "events": ["completed"], "secret": "x"}, {"/options/webhook/secret"}),
        (URL, {"/options/webhook"}),
    ],
)
def test_a_job_s_webhook_that_makes_no_sense_is_refused(api: Api, webhook: object, where: set[str]) -> None:
    response = api.post("/v1/jobs", {**JOB, "options": {"webhook": webhook}})
    problem(response, 422, "invalid-input")
    assert set(pointers(response)) == where


@pytest.mark.parametrize("name", ["nobody", "jobs", "x:deliveries"])
@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-secret"), ("GET", "/deliveries")],
)
def test_there_is_no_endpoint_of_another_name(api: Api, store: Store, name: str, method: str, rest: str) -> None:
    secret = api.get("/v1/webhooks/secret").json()
    create(api)
    problem(api.call(method, f"/v1/webhooks/{name}{rest}"), 404, "not-found")
    assert api.get("/v1/webhooks/secret").json() == secret


@pytest.mark.parametrize("name", ["nobody", "x:tries"])
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("POST", "/redeliver")])
def test_there_is_no_delivery_of_another_name(api: Api, name: str, method: str, rest: str) -> None:
    problem(api.call(method, f"/v1/webhooks/deliveries/{name}{rest}"), 404, "not-found")


def test_what_is_disabled_is_not_delivered_again(api: Api, board: Board, store: Store) -> None:
    webhook = create(api)["id"]
    delivery = a_delivery(api, board, store)
    api.call("PATCH", f"/v1/webhooks/{webhook}", json={"enabled": False})
    problem(api.post(f"/v1/webhooks/deliveries/{delivery['id']}/redeliver"), 409, "not-deliverable")


def test_an_endpoint_that_fails_for_too_long_is_disabled_audited_and_enabled_again(
    api: Api, board: Board, store: Store
) -> None:
    webhook = create(api)["id"]
    path = f"/v1/webhooks/{webhook}"
    delivery = a_delivery(api, board, store)
    store.deliveries.record(delivery["id"], TRY, "pending", url=URL, next_at=1_700_000_005_000)
    failing = api.get(path).json()
    assert (failing["enabled"], failing["disabledReason"]) == (True, None)
    assert failing["failingSince"]
    store.redis.hincrby(store.keys.webhook(webhook), "failingSince", -5 * 86_400_000)
    store.deliveries.record(delivery["id"], TRY, "failed", url=URL)

    found = api.get(path).json()
    assert (found["enabled"], found["disabledReason"]) == (False, "failing")
    assert found["disabledAt"]
    [entry] = api.get("/v1/audit?action=disable_webhook").json()["entries"]
    assert (entry["actor"], entry["target"], entry["outcome"]) == ("(stack)", path, "done")
    again = api.call("PATCH", path, json={"enabled": True}).json()
    assert [again[word] for word in ("enabled", "disabledReason", "disabledAt", "failingSince")] == [True] + [None] * 3


def test_there_are_only_so_many_endpoints(api: Api, store: Store) -> None:
    for _ in range(MAX_ENDPOINTS):
        store.webhooks.create(url=URL, events=("completed",))
    problem(api.post("/v1/webhooks", {"url": URL, "events": ["completed"]}), 409, "too-many-webhooks")


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=x", "state=done", "cursor="])
@pytest.mark.parametrize("own", [True, False])
def test_a_page_that_makes_no_sense_is_refused(api: Api, query: str, *, own: bool) -> None:
    path = "/v1/webhooks/deliveries" if own else f"/v1/webhooks/{create(api)['id']}/deliveries"
    problem(api.get(f"{path}?{query}"), 422, "invalid-input")
