"""Who may do what, once there are keys."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from requests import Response

from backroom.local.server import EmbeddedServer
from backroom.store import Store, WorkerView, connect
from tests.integration.api.listening import Listener
from tests.integration.api.service import DOCUMENT, TYPES, Api, pointers, problem

KEYS = [
    {"name": "shop", "key": "submit-key-0123456789", "roles": ["submit"]},
    {"name": "board", "key": "read-key-0123456789ab", "roles": ["read"]},
    {"name": "ops", "key": "operate-key-012345678", "roles": ["operate"]},
    {"name": "boss", "key": "admin-key-01234567890", "roles": ["admin"]},
    {
        "name": "narrow",
        "key": "narrow-key-0123456789",
        "roles": ["operate"],
        "queues": ["misc"],
        "jobTypes": ["anything"],
    },
]
KEYS += [
    {"name": "queues", "key": "some-queues-0123456789", "roles": ["operate"], "queues": ["misc"]},
    {"name": "types", "key": "some-types-0123456789a", "roles": ["operate"], "jobTypes": ["anything"]},
]
#: What an operation needs to come as far as the lists of a key.
BODIES: Final = {"clean_queue": {"grace": 0, "limit": 1}}
HEADERS = {key["name"]: {"Authorization": f"Bearer {key['key']}"} for key in KEYS}
GRANTS = {
    "shop": {"submit", "read-job"},
    "board": {"read", "read-job"},
    "ops": {"submit", "read-job", "read", "operate"},
    "boss": {"submit", "read-job", "read", "operate", "admin"},
}
JOB = {"name": "anything", "data": 1}
HEAVY = {"name": "heavy-task", "data": {"userId": "u", "payload": {}}, "queue": "misc"}


@pytest.fixture(scope="module")
def api(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API with keys, which come from a file."""
    folder, prefix = tmp_path_factory.mktemp("keys"), f"keys-{uuid4().hex[:8]}"
    secrets = folder / "keys.json"
    secrets.write_text(json.dumps(KEYS))
    with (
        connect(server.url) as client,
        Api(folder, server.url, prefix, BACKROOM_API_KEYS_FILE=str(secrets)) as api,
    ):
        Store(client, prefix=prefix).job_types.publish("test-worker", TYPES, ttl_seconds=3600)
        yield api


#: What each operation needs. An operation that is not in it fails the tests: decide who may call it, and write it down.
NEEDS: Final[Mapping[str, frozenset[str]]] = {
    "public": frozenset(["livez", "readyz"]),
    "submit": frozenset(["enqueue", "submit", "submit_bulk"]),
    "read-job": frozenset(["read_job", "read_logs", "read_result", "stream_job_events"]),
    "read": frozenset(
        [
            "home",
            "list_bulk_actions",
            "list_job_types",
            "list_jobs",
            "list_queues",
            "list_schedules",
            "list_workers",
            "metrics",
            "problems",
            "read_bulk_action",
            "read_docs",
            "read_document",
            "read_queue",
            "read_scaling",
            "read_schedule",
            "read_stats",
            "stream_events",
            *("list_webhooks", "read_webhook", "list_deliveries", "list_own_deliveries", "read_delivery"),
        ]
    ),
    "operate": frozenset(
        [
            "abort_bulk_action",
            "cancel_job",
            "change_job",
            "clean_queue",
            "clear_limits",
            "drain_queue",
            "obliterate_queue",
            "pause_queue",
            "pause_schedule",
            "promote_job",
            "put_schedule",
            "quiet_worker",
            "remove_job",
            "remove_schedule",
            "reschedule_job",
            "resume_queue",
            "resume_schedule",
            "retry_job",
            "run_schedule",
            "set_limits",
            "start_bulk_action",
            "stop_worker",
        ]
    ),
    "admin": frozenset(
        [
            *("create_key", "list_keys", "read_audit", "read_key", "revoke_key"),
            *("create_webhook", "change_webhook", "remove_webhook", "rotate_webhook_secret", "redeliver"),
            *("read_webhook_secret", "rotate_stack_secret"),
        ]
    ),
}
#: What concerns all, and is refused to keys that are bound to other queues or to some job types, whatever their role.
NOT_FOR_BOUND_KEYS: Final = frozenset(
    [
        "pause_queue",
        "resume_queue",
        "set_limits",
        "clear_limits",
        "drain_queue",
        "clean_queue",
        "obliterate_queue",
        "quiet_worker",
        "stop_worker",
        *("list_webhooks", "read_webhook", "list_deliveries", "list_own_deliveries", "read_delivery"),
    ]
)
#: Operation, method, an address of it, and what it declares.
OPERATIONS: Final = [
    (one["operationId"], method.upper(), re.sub(r"\{\w+\}", "nobody", path), one.get("x-access", "public"))
    for path, methods in DOCUMENT["paths"].items()
    for method, one in methods.items()
]


def test_every_operation_is_in_the_table_and_declares_what_the_table_says() -> None:
    declared: dict[str, set[str]] = {}
    for name, _, _, needs in OPERATIONS:
        declared.setdefault(needs, set()).add(name)
    assert declared == NEEDS


@pytest.mark.parametrize(("name", "method", "path", "_needs"), OPERATIONS, ids=[each[0] for each in OPERATIONS])
def test_every_operation_asks_for_a_key_and_for_the_right_role_before_all_else(
    api: Api, name: str, method: str, path: str, _needs: str
) -> None:
    [needs] = [access for access, names in NEEDS.items() if name in names]
    # Whatever is wrong with the rest of the request, and whether or not there is such a thing, comes second.
    for extra in ({}, {"params": {"surprise": "1"}}, {"data": b"{", "headers": {"Content-Type": "text/plain"}}):
        options: dict[str, Any] = {"stream": True, **extra}
        headers = options.pop("headers", {})
        bare = api.call(method, path, headers=headers, **options)
        if needs == "public":
            assert bare.status_code not in {401, 403}
            continue
        problem(bare, 401, "unauthorized")
        assert bare.headers["WWW-Authenticate"].startswith("Bearer")
        problem(
            api.call(method, path, headers={**headers, "Authorization": "Bearer wrong"}, **options), 401, "unauthorized"
        )
        for key, grants in GRANTS.items():
            with api.call(method, path, headers={**headers, **HEADERS[key]}, **options) as response:
                if needs not in grants:
                    problem(response, 403, "forbidden")
                else:
                    assert response.status_code not in {401, 403}, (key, response.text)


@pytest.mark.parametrize(("name", "method", "path", "needs"), OPERATIONS, ids=[each[0] for each in OPERATIONS])
@pytest.mark.parametrize("key", ["queues", "types"])
def test_every_operation_with_a_key_of_some_queues_or_some_types(
    api: Api, name: str, method: str, path: str, needs: str, key: str
) -> None:
    with api.call(method, path, headers=HEADERS[key], json=BODIES.get(name), stream=True) as response:
        if needs == "admin" or name in NOT_FOR_BOUND_KEYS:
            problem(response, 403, "forbidden")
        else:
            assert response.status_code not in {401, 403}, response.text


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic submit-key-0123456789", "submit-key-0123456789", "Bearer é"],
)
def test_keys_that_are_none(api: Api, authorization: str) -> None:
    response = api.get("/v1/queues", headers={"Authorization": authorization.encode("utf-8")})
    problem(response, 401, "unauthorized")


def test_unknown_addresses_are_hidden_from_those_without_a_key(api: Api) -> None:
    problem(api.get("/nothing"), 401, "unauthorized")
    problem(api.get("/nothing", headers=HEADERS["board"]), 404, "not-found")


def test_with_keys_any_host_and_origin_may_ask(api: Api) -> None:
    headers = {**HEADERS["shop"], "Host": "jobs.example.org", "Origin": "https://app.example.org"}
    assert api.post("/v1/jobs", JOB, headers=headers).status_code == 202


def test_the_role_is_checked_before_the_body(api: Api) -> None:
    problem(api.send("/v1/jobs", b"{", **HEADERS["board"]), 403, "forbidden")


def test_a_key_of_some_queues_and_types_sees_and_touches_no_others(api: Api) -> None:
    narrow, ops = HEADERS["narrow"], HEADERS["ops"]
    own = api.post("/v1/jobs", JOB, headers=narrow)
    assert own.status_code == 202
    problem(api.post("/v1/jobs", {**JOB, "queue": "other"}, headers=narrow), 403, "forbidden")
    problem(api.post("/jobs/enqueue", {"userId": "u", "payload": {}}, headers=narrow), 403, "forbidden")
    problem(api.post("/v1/jobs/bulk", {"jobs": [JOB, {**JOB, "queue": "other"}]}, headers=narrow), 403, "forbidden")

    foreign = api.post("/v1/jobs", {**JOB, "queue": "other"}, headers=ops).json()["id"]
    for rest in ("", "/result", "/logs"):
        problem(api.get(f"/v1/jobs/{foreign}{rest}", headers=narrow), 404, "not-found")
    for verb in ("cancel", "retry", "promote"):
        problem(api.post(f"/v1/jobs/{foreign}/{verb}", headers=narrow), 404, "not-found")
    problem(api.call("DELETE", f"/v1/jobs/{foreign}", headers=narrow), 404, "not-found")

    assert {job["queue"] for job in api.get("/v1/jobs", headers=narrow).json()["jobs"]} == {"misc"}
    problem(api.get("/v1/jobs?queue=other", headers=narrow), 403, "forbidden")
    assert [queue["name"] for queue in api.get("/v1/queues", headers=narrow).json()["queues"]] == ["misc"]
    problem(api.get("/v1/queues/other", headers=narrow), 404, "not-found")
    problem(api.post("/v1/queues/other/pause", headers=narrow), 403, "forbidden")
    assert [one["name"] for one in api.get("/v1/job-types", headers=narrow).json()["jobTypes"]] == ["anything"]
    assert api.get("/v1/stats", headers=narrow).json()["queues"] == 1
    assert api.get(f"/v1/jobs/{own.json()['id']}", headers=narrow).status_code == 200


def test_a_key_of_some_queues_and_types_sees_and_touches_no_other_schedules(api: Api) -> None:
    narrow, ops = HEADERS["narrow"], HEADERS["ops"]

    def put(key: str, queue: str, headers: dict[str, str]) -> Response:
        body = {"every": 60_000, "paused": True, "job": {"name": "anything", "queue": queue}}
        return api.call("PUT", f"/v1/schedules/{key}", json=body, headers=headers)

    assert put("own", "misc", narrow).status_code == 201
    problem(put("new", "other", narrow), 403, "forbidden")
    assert put("foreign", "other", ops).status_code == 201
    problem(put("foreign", "misc", narrow), 403, "forbidden")
    problem(api.get("/v1/schedules/foreign", headers=narrow), 404, "not-found")
    for verb in ("pause", "resume", "run"):
        problem(api.post(f"/v1/schedules/foreign/{verb}", headers=narrow), 404, "not-found")
    problem(api.call("DELETE", "/v1/schedules/foreign", headers=narrow), 404, "not-found")
    assert [one["key"] for one in api.get("/v1/schedules", headers=narrow).json()["schedules"]] == ["own"]


def test_an_id_that_a_job_of_others_has_shows_nothing_of_that_job(api: Api) -> None:
    name = f"taken-{uuid4().hex[:8]}"
    options = {"options": {"jobId": name}}
    secret = {**JOB, "queue": "other", "data": "a secret", **options}
    assert api.post("/v1/jobs", secret, headers=HEADERS["ops"]).status_code == 202
    mine = {**JOB, **options}
    for key in ("narrow", "queues"):
        refused = api.post("/v1/jobs", mine, headers=HEADERS[key])
        assert name in problem(refused, 403, "forbidden")["detail"]
        bulk = api.post("/v1/jobs/bulk", {"jobs": [{**JOB, "data": "not stored"}, mine]}, headers=HEADERS[key])
        problem(bulk, 403, "forbidden")
        again = api.post("/v1/jobs", mine, headers={**HEADERS[key], "Prefer": "wait=1", "Idempotency-Key": name})
        problem(again, 403, "forbidden")
        assert "a secret" not in refused.text + bulk.text + again.text
    listed = api.get("/v1/jobs?queue=misc", headers=HEADERS["ops"]).json()["jobs"]
    assert "not stored" not in [job["data"] for job in listed]
    # A type that it may touch in a queue that it has no list of: that job is its own.
    assert api.post("/v1/jobs", mine, headers=HEADERS["types"]).json()["duplicate"] is True


@pytest.fixture
def workers(api: Api, server: EmbeddedServer) -> Iterator[Mapping[str, str]]:
    """Three workers, of all queues, of two and of another one, that run jobs of everybody; the ids of these."""
    jobs = {
        "own": JOB,
        "other queue": {**JOB, "queue": "other"},
        "other type": HEAVY,
    }
    ids = {what: api.post("/v1/jobs", body, headers=HEADERS["ops"]).json()["id"] for what, body in jobs.items()}
    with connect(server.url) as client:
        store = Store(client, prefix=api.prefix)
        for name, queues in (("all", None), ("two", ("misc", "other")), ("foreign", ("other",))):
            store.workers.beat(
                WorkerView(
                    id=f"{name}@here",
                    host="here",
                    pid=1,
                    queues=queues,
                    pool="prefork",
                    slots=4,
                    busy=3,
                    jobs=tuple(ids.values()) if name == "all" else (),
                    started_at=0,
                )
            )
        yield ids
        for name in ("all", "two", "foreign"):
            store.workers.leave(f"{name}@here")


def test_a_key_of_some_queues_and_types_sees_workers_of_its_queues_and_of_their_jobs_its_own(
    api: Api, workers: Mapping[str, str]
) -> None:
    def shown(key: str) -> dict[str, tuple[list[str] | None, set[str]]]:
        answer = api.get("/v1/workers", headers=HEADERS[key]).json()["workers"]
        return {each["id"].partition("@")[0]: (each["queues"], set(each["jobs"])) for each in answer}

    everything = set(workers.values())
    assert shown("ops") == {
        "all": (None, everything),
        "two": (["misc", "other"], set()),
        "foreign": (["other"], set()),
    }
    assert shown("queues") == {
        "all": (None, {workers["own"], workers["other type"]}),
        "two": (["misc"], set()),
    }
    assert shown("types") == {
        "all": (None, {workers["own"], workers["other queue"]}),
        "two": (["misc", "other"], set()),
        "foreign": (["other"], set()),
    }
    assert shown("narrow") == {"all": (None, {workers["own"]}), "two": (["misc"], set())}


@pytest.mark.usefixtures("workers")
def test_a_key_of_some_queues_reads_the_figures_of_these_and_of_their_workers(api: Api) -> None:
    stats = {key: api.get("/v1/stats", headers=HEADERS[key]).json() for key in ("ops", "queues", "narrow")}
    assert all(each.pop("oldestWaitingMs") >= 0 for each in stats.values())
    assert (stats["ops"]["workers"], stats["ops"]["slots"], stats["ops"]["queues"] > 1) == (3, 12, True)
    assert stats["queues"] == stats["narrow"]
    assert [stats["queues"][name] for name in ("workers", "slots", "busy", "queues")] == [2, 8, 6, 1]
    counts = api.get("/v1/queues/misc", headers=HEADERS["ops"]).json()["counts"]
    assert stats["queues"]["counts"] == counts
    scaling = api.get("/v1/stats/scaling", headers=HEADERS["queues"]).json()
    assert ([queue["name"] for queue in scaling["queues"]], scaling["workers"], scaling["slots"]) == (["misc"], 2, 8)


@pytest.mark.usefixtures("workers")
def test_the_page_shows_a_key_of_some_queues_and_types_no_others(api: Api) -> None:
    page = {key: api.get("/", headers=HEADERS[key]).text for key in ("ops", "narrow")}
    assert ("/v1/queues/other" in page["ops"], "3 workers" in page["ops"], "2 job types" in page["ops"]) == (True,) * 3
    assert "/v1/queues/misc" in page["narrow"]
    assert "/v1/queues/other" not in page["narrow"]
    assert ("2 workers" in page["narrow"], "1 job type." in page["narrow"]) == (True, True)


#: Lists and figures, each with what a key of some queues or job types may read there.
LISTINGS: Final = frozenset(
    [
        *("list_jobs", "list_queues", "list_schedules", "list_job_types", "list_bulk_actions", "list_workers"),
        *("read_stats", "read_scaling", "stream_events", "home"),
    ]
)
#: What is of no queue and no job: the API's own description and its own metrics.
OF_NOBODY: Final = frozenset(["metrics", "problems", "read_docs", "read_document"])


def test_every_list_is_narrowed_refused_to_bound_keys_or_of_nobody() -> None:
    lists = {name for name, method, path, needs in OPERATIONS if needs == "read" and "nobody" not in path}
    assert lists == LISTINGS | OF_NOBODY | (NOT_FOR_BOUND_KEYS & lists)


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("path", [path for name, _, path, _ in OPERATIONS if name in LISTINGS - {"stream_events"}])
def test_no_list_and_no_figures_name_what_a_bound_key_is_not_for(
    api: Api, workers: Mapping[str, str], path: str
) -> None:
    hidden = {*workers.values()} - {workers["own"]}
    api.post("/v1/bulk-actions", {"action": "cancel", "filter": {"queue": "other"}}, headers=HEADERS["ops"])
    schedule = {"every": 60_000, "paused": True, "job": HEAVY}
    api.call("PUT", "/v1/schedules/hidden-one", json=schedule, headers=HEADERS["ops"])
    text = api.get(path, headers=HEADERS["narrow"]).text
    for word in (*hidden, '"other"', "/v1/queues/other", "hidden-one", "heavy-task", "foreign@here"):
        assert word not in text, word
    assert api.get(path, headers=HEADERS["ops"]).text != text


def test_a_key_of_some_queues_and_types_hears_of_no_others(api: Api) -> None:
    narrow, ops = HEADERS["narrow"], HEADERS["ops"]
    problem(api.get("/v1/events?queue=other", headers=narrow), 403, "forbidden")
    with Listener(api, "/v1/events?type=added", **narrow) as listener:
        foreign = api.post("/v1/jobs", {**JOB, "queue": "other"}, headers=ops).json()["id"]
        api.post("/v1/jobs", HEAVY, headers=ops)
        own = api.post("/v1/jobs", JOB, headers=narrow).json()["id"]
        listener.until(lambda each: each.told)
    assert [told.data["jobId"] for told in listener.told] == [own]
    for after in ({}, {"Last-Event-ID": "0-0"}):
        problem(api.get(f"/v1/jobs/{foreign}/events", headers={**narrow, **after}), 404, "not-found")


def test_a_key_is_named_in_the_log_and_never_written(api: Api) -> None:
    api.get("/v1/queues?x=1", headers={**HEADERS["boss"], "X-Request-Id": "by-the-boss"})
    [line] = [json.loads(text) for text in api.log.splitlines() if "by-the-boss" in text]
    assert (line["actor"], line["status"], line["path"]) == ("boss", 422, "/v1/queues")
    assert not any(str(key["key"]) in api.log for key in KEYS)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("{", "not JSON"),
        ("[]", "empty"),
        ('[{"name": "a"}]', "0/key"),
        ('[{"name":"a","key":"short","roles":["read"]}]', "0/key"),
        # Misread as no list, an empty one would be a key for everything.
        ('[{"name":"a","key":"a-key-0123456789","roles":["read"],"queues":[]}]', "0/queues"),
        ('[{"name":"a","key":"a-key-0123456789","roles":["read"],"jobTypes":[]}]', "0/jobTypes"),
        ('[{"name":"a","key":"a-key-0123456789","roles":["read"],"queues":["a b"]}]', "0/queues/0"),
        (json.dumps([{"name": "a", "key": f"a-key-{n}-0123456789", "roles": ["read"]} for n in range(2)]), "name 'a'"),
        (json.dumps([{"name": n, "key": "a-key-0123456789", "roles": ["read"]} for n in "ab"]), "same key"),
    ],
)
def test_keys_that_are_misspelt_stop_the_start(server: EmbeddedServer, tmp_path: Path, keys: str, said: str) -> None:
    api = Api(tmp_path, server.url, "never", BACKROOM_API_KEYS=keys)
    with pytest.raises(AssertionError, match="did not start") as failure, api:
        pass
    assert said in str(failure.value)


@pytest.mark.parametrize(
    ("written", "more", "said"),
    [
        (None, {}, "BACKROOM_API_KEYS_FILE cannot be read"),
        (b"caf\xe9", {}, "BACKROOM_API_KEYS_FILE cannot be read"),
        (b"", {}, "BACKROOM_API_KEYS_FILE is not JSON"),
        (json.dumps(KEYS).encode(), {"BACKROOM_API_KEYS": json.dumps(KEYS)}, "both set"),
    ],
)
def test_a_file_of_keys_that_is_none_stops_the_start_and_is_named(
    server: EmbeddedServer, tmp_path: Path, written: bytes | None, more: dict[str, str], said: str
) -> None:
    secrets = tmp_path / "keys.json"
    if written is not None:
        secrets.write_bytes(written)
    api = Api(tmp_path, server.url, "never", BACKROOM_API_KEYS_FILE=str(secrets), **more)
    with pytest.raises(AssertionError, match="did not start") as failure, api:
        pass
    assert said in str(failure.value)


def test_a_refusal_points_nowhere_when_no_field_is_at_fault(api: Api) -> None:
    assert pointers(api.get("/v1/queues")) == []
