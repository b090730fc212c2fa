"""What every operation refuses, whatever it does: made from the API's document, so that a new operation is tested too.

What is said of keys is in `test_access`, what states of jobs forbid in `test_states`.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import requests

from backroom.local.server import EmbeddedServer
from backroom.model.schedule import parse_schedule
from backroom.store import JobQuery, Store, connect
from backroom.store.positions import Cursor, Position, encode_cursor, fingerprint, opaque
from backroom.store.webhooks import MAX_ENDPOINTS
from tests.integration.api.board import Board
from tests.integration.api.service import DOCUMENT, TYPES, Api, pointers, problem

JOB: Final = {"name": "anything", "data": 1}
URL: Final = "https://example.org/hooks"
PATIENCE: Final = 60

#: A body that each operation with a body takes. One that is not here and needs one fails: add it.
BODIES: Final[dict[str, dict[str, Any]]] = {
    "enqueue": {"userId": "u1", "payload": {}},
    "submit": JOB,
    "submit_bulk": {"jobs": [JOB]},
    "change_job": {"priority": 1},
    "reschedule_job": {"delay": 1000},
    "start_bulk_action": {"action": "retry", "ids": ["nobody"]},
    "put_schedule": {"every": 60_000, "paused": True, "job": JOB},
    "create_webhook": {"url": URL, "events": ["completed"]},
    "create_key": {"name": "boss", "roles": ["admin"]},
}
#: Headers that an operation cannot do without.
NEEDED: Final = {"change_job": {"If-Match": "*"}}
#: Operations that make what their address names.
MAKERS: Final = frozenset({"pause_queue", "set_limits", "put_schedule"})
#: Operations that are answered without the store.
WITHOUT_STORE: Final = frozenset({"livez", "metrics", "problems", "read_document", "read_docs"})
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class Operation:
    """An operation of the document."""

    name: str
    method: str
    #: With a name that nothing has in the place of each parameter.
    path: str
    described: dict[str, Any] = field(hash=False)

    @property
    def takes_body(self) -> bool:
        """Whether a body is looked at."""
        return self.method in {"POST", "PUT", "PATCH"}

    @property
    def needs_body(self) -> bool:
        """Whether one must be there."""
        return bool(self.described.get("requestBody", {}).get("required"))

    @property
    def body(self) -> dict[str, Any] | None:
        """A body that it takes."""
        return BODIES.get(self.name, {}) if self.takes_body else None

    @property
    def has_parameters(self) -> bool:
        """Whether its address names something."""
        return any(each["in"] == "path" for each in self.described.get("parameters", ()))

    def declares(self, status: int) -> bool:
        """Whether the document knows of such an answer."""
        return str(status) in self.described["responses"]

    def call(self, api: Api, **options: Any) -> requests.Response:
        """Send a request that is well but for the options given."""
        if not options.keys() & {"data", "json"} and self.body is not None:
            options["json"] = self.body
        headers = NEEDED.get(self.name, {}) | options.pop("headers", {})
        with api.call(self.method, self.path, headers=headers, stream=True, **options) as response:
            if response.headers["Content-Type"].startswith("text/event-stream"):
                return response
            assert response.content is not None  # read before it is closed
            return response

    def send(self, api: Api, body: bytes, **headers: str) -> requests.Response:
        """Send this as its body."""
        return self.call(api, data=body, headers={"Content-Type": "application/json", **headers})


OPERATIONS: Final = [
    Operation(one["operationId"], method.upper(), re.sub(r"\{\w+\}", "nobody", path), one)
    for path, methods in DOCUMENT["paths"].items()
    for method, one in methods.items()
]
WITH_BODY: Final = [each for each in OPERATIONS if each.takes_body]
GUARDED: Final = [each for each in OPERATIONS if "x-access" in each.described]
IDEMPOTENT: Final = [
    each
    for each in OPERATIONS
    if any(parameter["name"] == "Idempotency-Key" for parameter in each.described.get("parameters", ()))
]


def each(operations: list[Operation]) -> pytest.MarkDecorator:
    """A test for each of them."""
    assert operations
    return pytest.mark.parametrize("operation", operations, ids=[one.name for one in operations])


def named(name: str) -> Operation:
    """The operation of this name."""
    [found] = [one for one in OPERATIONS if one.name == name]
    return found


@pytest.fixture
def nothing_is_changed(store: Store) -> Iterator[None]:
    yield
    assert store.queues.names() == []
    assert store.schedules.page(limit=1).schedules == []
    assert store.webhooks.list() == []
    assert store.bulk.page(limit=1).actions == []
    kept = store.api_keys.read()
    assert kept is not None
    assert not kept.keys


def test_the_table_has_a_body_for_every_operation_that_needs_one() -> None:
    assert {one.name for one in OPERATIONS if one.needs_body} <= set(BODIES) <= {one.name for one in WITH_BODY}


# What is not in order before it is asked what is wanted.


@each(OPERATIONS)
@pytest.mark.usefixtures("nothing_is_changed")
def test_a_parameter_that_it_does_not_know(api: Api, operation: Operation) -> None:
    response = operation.call(api, params={"surprise": "1"})
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/surprise"]


@each([one for one in OPERATIONS if "parameters" in one.described])
@pytest.mark.usefixtures("nothing_is_changed")
def test_a_parameter_that_is_given_twice_where_once_is_meant(api: Api, operation: Operation) -> None:
    for parameter in operation.described["parameters"]:
        if parameter["in"] == "query" and parameter["schema"].get("type") != "array":
            response = operation.call(api, params={parameter["name"]: ["1", "2"]})
            problem(response, 422, "invalid-input")
            assert f"/{parameter['name']}" in pointers(response)


@each(WITH_BODY)
@pytest.mark.usefixtures("nothing_is_changed")
def test_a_body_that_is_not_json(api: Api, operation: Operation) -> None:
    for body in (b"{", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 1}'):
        problem(operation.send(api, body), 400, "malformed-json")


@each(WITH_BODY)
@pytest.mark.usefixtures("nothing_is_changed")
def test_a_body_that_is_not_json_by_its_headers(api: Api, operation: Operation) -> None:
    text = json.dumps(operation.body).encode()
    for body, headers in (
        (text, {"Content-Type": "text/plain"}),
        (text, {"Content-Type": "application/json; charset=latin-1"}),
        (gzip.compress(text), {"Content-Encoding": "gzip"}),
    ):
        problem(operation.send(api, body, **headers), 415, "unsupported-media-type")


@each(WITH_BODY)
@pytest.mark.usefixtures("nothing_is_changed")
def test_a_body_above_the_limit_which_is_named(api: Api, operation: Operation) -> None:
    limit = (10 if operation.name == "submit_bulk" else 1) * 1024 * 1024
    response = operation.send(api, b" " * (limit + 1))
    assert f"limit is {limit} bytes" in problem(response, 413, "too-large")["detail"]


@each(WITH_BODY)
@pytest.mark.usefixtures("nothing_is_changed")
def test_a_body_that_is_no_object_or_has_a_field_that_it_does_not_know(api: Api, operation: Operation) -> None:
    for body in ([], None, 5, "text"):
        response = operation.send(api, json.dumps(body).encode())
        problem(response, 422, "invalid-input")
        assert pointers(response) == [""]
    response = operation.call(api, json={**(operation.body or {}), "surprise": 1})
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/surprise"]


@each([one for one in WITH_BODY if one.needs_body])
@pytest.mark.usefixtures("nothing_is_changed")
def test_a_body_that_is_not_there_and_one_that_says_nothing(api: Api, operation: Operation) -> None:
    problem(operation.call(api, data=b""), 400, "bad-request")
    problem(operation.send(api, b"{}"), 422, "invalid-input")


# Addresses.


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_a_method_that_an_address_does_not_have(api: Api, path: str) -> None:
    templates = {one for one in DOCUMENT["paths"] if re.fullmatch(re.sub(r"\{\w+\}", r"[^/]+", one), path)}
    known = {method.upper() for template in templates for method in DOCUMENT["paths"][template]}
    for method in (*METHODS, "PROPFIND"):
        if method not in known:
            response = api.call(method, path.replace("{", "").replace("}", ""), json={})
            problem(response, 405, "method-not-allowed")
            assert set(response.headers["Allow"].split(", ")) == known | ({"HEAD"} if "GET" in known else set())


@each([one for one in OPERATIONS if one.has_parameters])
def test_what_does_not_exist(api: Api, operation: Operation) -> None:
    assert operation.declares(404) != (operation.name in MAKERS)
    if operation.name not in MAKERS:
        problem(operation.call(api), 404, "not-found")


@each([one for one in OPERATIONS if one.method == "GET"])
def test_head_is_answered_as_get_is_and_without_a_body(api: Api, operation: Operation) -> None:
    got, head = operation.call(api), api.session.head(f"{api.url}{operation.path}", timeout=PATIENCE)
    assert (head.status_code, head.content) == (got.status_code, b"")
    for name in ("Content-Type", "Cache-Control"):
        assert head.headers.get(name) == got.headers.get(name)


# Who asks, and how often.


@each(GUARDED)
@pytest.mark.usefixtures("nothing_is_changed")
def test_a_foreign_host_and_a_write_on_behalf_of_a_foreign_site(api: Api, operation: Operation) -> None:
    if operation.name != "metrics":  # probes ask under any name
        problem(operation.call(api, headers={"Host": "evil.example"}), 403, "foreign-request")
    if operation.method != "GET":
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            problem(operation.call(api, headers=headers), 403, "foreign-request")


@pytest.fixture(scope="module")
def spent_api(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API whose budgets for this hour are used up."""
    settings = {f"BACKROOM_API_RATE_LIMIT_{name}": "1" for name in ("REQUESTS", "SUBMISSIONS")}
    settings["BACKROOM_API_RATE_LIMIT_SECONDS"] = "3600"
    with Api(tmp_path_factory.mktemp("spent"), server.url, "spent", **settings) as api:
        api.get("/v1/stats")
        api.post("/v1/jobs", {})
        yield api


@each(GUARDED)
def test_one_request_too_many(spent_api: Api, operation: Operation) -> None:
    response = operation.call(spent_api)
    problem(response, 429, "too-many-requests")
    assert 0 < int(response.headers["Retry-After"]) <= 3600
    assert "r=0" in response.headers["RateLimit"]


@pytest.fixture(scope="module")
def stranded_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API whose store was there once, and is not any more."""
    folder = tmp_path_factory.mktemp("stranded")
    server = EmbeddedServer(folder / "store", socket=folder / "store.sock", appendonly=False)
    server.start()
    try:
        with connect(server.url) as client:
            Store(client, prefix="stranded").job_types.publish("test-worker", TYPES, ttl_seconds=3600)
        with Api(folder, server.url, "stranded", BACKROOM_API_PROCESSES="1") as api:
            assert api.post("/v1/jobs", JOB).status_code == 202
            server.kill()
            yield api
    finally:
        server.stop()


@each(OPERATIONS)
def test_the_store_is_away(stranded_api: Api, operation: Operation) -> None:
    if operation.name == "home":  # a page for people says so too
        assert requests.get(f"{stranded_api.url}/", timeout=PATIENCE).status_code == 503
        return
    response = operation.call(stranded_api, timeout=PATIENCE)
    if operation.name in WITHOUT_STORE:
        assert response.status_code == 200
    else:
        problem(response, 503, "store-unavailable")


# What stands against it.


def in_state(api: Api, board: Board, state: str) -> str:
    """The id of a job in this state."""
    job_id: str = api.post("/v1/jobs", JOB).json()["id"]
    if state != "waiting":
        claimed = board.claim()
        if state == "completed":
            board.complete(claimed, 1)
        if state == "failed":
            board.fail(claimed, "no")
    return job_id


def job(state: str) -> Callable[[Api, Board, Store], str]:
    return lambda api, board, _store: in_state(api, board, state)


def busy_queue(api: Api, board: Board, _store: Store) -> str:
    in_state(api, board, "active")
    return "misc"


def code_schedule(_api: Api, _board: Board, store: Store) -> str:
    store.schedules.put_code({"anything": parse_schedule({"every": 3_600_000, "job": JOB | {"queue": "misc"}})}, [])
    return "code:anything"


def ended_action(_api: Api, _board: Board, store: Store) -> str:
    store.bulk.start("over", "cancel", ["nobody"])
    store.bulk.work(lambda: True)
    return "over"


def all_endpoints(_api: Api, _board: Board, store: Store) -> str:
    for _ in range(MAX_ENDPOINTS):
        store.webhooks.create(url=URL, events=("completed",))
    return ""


#: What each operation that may be in conflict is in conflict with, and the kind of problem that is.
CONFLICTS: Final[dict[str, tuple[Callable[[Api, Board, Store], str], str]]] = {
    "cancel_job": (job("completed"), "wrong-state"),
    "retry_job": (job("waiting"), "wrong-state"),
    "promote_job": (job("waiting"), "wrong-state"),
    "reschedule_job": (job("waiting"), "wrong-state"),
    "remove_job": (job("active"), "wrong-state"),
    "change_job": (job("active"), "wrong-state"),
    "read_result": (job("failed"), "wrong-state"),
    "abort_bulk_action": (ended_action, "action-over"),
    "obliterate_queue": (busy_queue, "queue-busy"),
    "put_schedule": (code_schedule, "defined-in-code"),
    "remove_schedule": (code_schedule, "defined-in-code"),
    "create_webhook": (all_endpoints, "too-many-webhooks"),
}
#: Tested where there are keys (`test_keys`) and deliveries (`test_webhooks`).
CONFLICTS_ELSEWHERE: Final = frozenset({"create_key", "revoke_key", "redeliver"})


def test_every_operation_that_may_be_in_conflict_is_in_the_table() -> None:
    declared = {one.name for one in OPERATIONS if one.declares(409)} - {one.name for one in IDEMPOTENT}
    assert declared == {*CONFLICTS, *CONFLICTS_ELSEWHERE}


@pytest.mark.parametrize("name", CONFLICTS)
def test_a_conflict_with_what_is_there(api: Api, board: Board, store: Store, name: str) -> None:
    arrange, slug = CONFLICTS[name]
    found, operation = arrange(api, board, store), named(name)
    path = operation.path.replace("nobody", found)
    options = {} if operation.body is None else {"json": operation.body}
    problem(api.call(operation.method, path, headers=NEEDED.get(name, {}), **options), 409, slug)


def test_preconditions_are_asked_for_and_held_to_where_the_document_says_so(api: Api) -> None:
    assert {one.name for one in OPERATIONS if one.declares(412) or one.declares(428)} == {"change_job"}
    path = api.post("/v1/jobs", JOB).json()["links"]["self"]
    problem(api.call("PATCH", path, json={"priority": 1}), 428, "precondition-required")
    for stale in ('"1-0"', 'W/"1-0"', "nonsense", ""):
        problem(api.call("PATCH", path, json={"priority": 1}, headers={"If-Match": stale}), 412, "precondition-failed")


# Idempotency keys.


def prepared(operation: Operation, store: Store) -> str:
    """The operation's address, and what must be there for it."""
    if not operation.has_parameters:
        return operation.path
    store.schedules.put("mine", parse_schedule({"every": 3_600_000, "job": JOB | {"queue": "misc"}}))
    return operation.path.replace("nobody", "mine")


@each(IDEMPOTENT)
def test_an_idempotency_key_that_is_none(api: Api, store: Store, operation: Operation) -> None:
    path = prepared(operation, store)
    for key in ('""', '"a', '"é"'.encode(), "k" * 256):
        response = api.call("POST", path, json=operation.body, headers={"Idempotency-Key": key})
        problem(response, 400, "bad-request")


@each(IDEMPOTENT)
def test_a_request_whose_first_is_still_being_answered(api: Api, store: Store, operation: Operation) -> None:
    path = prepared(operation, store)
    body = json.dumps(operation.body, separators=(",", ":"), sort_keys=True).encode()
    store.idempotency.claim(f"open\nPOST\n{path}\nk", hashlib.sha256(body).hexdigest(), keep_seconds=100)
    response = api.call("POST", path, json=operation.body, headers={"Idempotency-Key": "k"})
    problem(response, 409, "still-running")
    assert response.headers["Retry-After"] == "1"


@each(IDEMPOTENT)
def test_a_request_that_is_repeated_is_carried_out_once(api: Api, store: Store, operation: Operation) -> None:
    path, headers = prepared(operation, store), {"Idempotency-Key": "k"}
    first = api.call("POST", path, json=operation.body, headers=headers)
    added = sum(event.type == "added" for event in store.events.read("0-0"))
    again = api.call("POST", path, json=operation.body, headers=headers)
    assert first.ok
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers.get("Location") == first.headers.get("Location")
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert sum(event.type == "added" for event in store.events.read("0-0")) == added
    assert len(store.bulk.page(limit=10).actions) == (operation.name == "start_bulk_action")


@each([one for one in IDEMPOTENT if one.needs_body])
def test_an_idempotency_key_of_another_body(api: Api, operation: Operation) -> None:
    headers = {"Idempotency-Key": "k"}
    assert operation.call(api, headers=headers).ok
    others: dict[str, dict[str, Any]] = {
        "enqueue": {"userId": "u2"},
        "submit": {"data": 2},
        "submit_bulk": {"jobs": [JOB, JOB]},
        "start_bulk_action": {"action": "cancel"},
    }
    response = operation.call(api, json={**(operation.body or {}), **others[operation.name]}, headers=headers)
    problem(response, 422, "key-reused")


@each([one for one in IDEMPOTENT if one.needs_body])
def test_a_refused_request_leaves_its_idempotency_key_free(api: Api, operation: Operation) -> None:
    headers = {"Idempotency-Key": "k"}
    problem(operation.call(api, json={}, headers=headers), 422, "invalid-input")
    again = operation.call(api, headers=headers)
    assert again.ok
    assert "Idempotent-Replayed" not in again.headers


# Pages.

PAGED: Final = [
    one for one in OPERATIONS if any(parameter["name"] == "cursor" for parameter in one.described.get("parameters", ()))
]

#: No cursors of any list.
ODD: Final = ("nonsense", "%", "e30", "bnVsbA", "-1", "1.5", "é", "W10", "W1td", "\0", "A" * 1024, "null")
PLACE: Final = Cursor(Position(1.0, "x"), 0)
#: Cursors as each list gives them, by the operation that does; those of deliveries are left to `test_webhooks`.
CURSORS: Final = {
    "list_jobs": encode_cursor(JobQuery().list_name, PLACE),
    "list_bulk_actions": encode_cursor("bulk-actions", PLACE),
    "list_schedules": encode_cursor("schedules", PLACE),
    "list_keys": encode_cursor("keys", PLACE),
    "read_audit": opaque([1, 0, "acts", fingerprint([frozenset(), frozenset(), None])]),
}


@each(PAGED)
def test_a_cursor_that_is_none_of_this_list(api: Api, store: Store, operation: Operation) -> None:
    path = operation.path
    if operation.has_parameters:
        path = path.replace("nobody", store.webhooks.create(url=URL, events=("completed",))[0].id)
    own = CURSORS.get(operation.name)
    if own is not None:
        assert api.get(path, params={"cursor": own}).status_code == 200
    broken = [] if own is None else [own[:-1], own[1:], own + "A", own[: len(own) // 2], own.swapcase()]
    for cursor in (*ODD, *broken, *(each for each in CURSORS.values() if each != own)):
        response = api.get(path, params={"cursor": cursor})
        problem(response, 422, "invalid-input")
        assert pointers(response) == ["/cursor"]
    problem(api.get(path, params={"cursor": ""}), 422, "invalid-input")
    problem(api.get(path, params={"cursor": "A" * 1025}), 422, "invalid-input")


def test_a_cursor_of_a_list_of_jobs_with_other_filters_or_in_another_order(api: Api) -> None:
    for number in range(4):
        api.post("/v1/jobs", {**JOB, "queue": "ab"[number % 2], "options": {"tags": ["t"]}})
    given: dict[str, Any] = {"queue": ["a", "b"], "state": "waiting", "from": "2020-01-01T00:00:00Z", "limit": 1}
    cursor = api.get("/v1/jobs", params=given).json()["next"]
    same = ({"queue": ["b", "a"]}, {"queue": ["a", "b", "a"]}, {"limit": 2}, {"from": "2020-01-01T01:00:00+01:00"})
    for change in same:
        assert api.get("/v1/jobs", params={**given, **change, "cursor": cursor}).json()["jobs"]
    others: tuple[dict[str, Any], ...] = (
        {"queue": "a"},
        {"queue": None},
        {"state": "delayed"},
        {"state": None},
        {"name": "anything"},
        {"tag": "t"},
        {"userId": "t"},
        {"q": "t"},
        {"from": None},
        {"to": "2090-01-01T00:00:00Z"},
        {"sort": "createdAt"},
        {"sort": "priority"},
    )
    for change in others:
        response = api.get("/v1/jobs", params={**given, **change, "cursor": cursor})
        problem(response, 422, "invalid-input")
        assert pointers(response) == ["/cursor"]


def test_a_cursor_of_the_audit_log_with_other_filters(api: Api) -> None:
    for _ in range(2):
        api.post("/v1/queues/q/pause")
    given: dict[str, Any] = {"action": ["pause_queue", "resume_queue"], "outcome": "done", "limit": 1}
    cursor = api.get("/v1/audit", params=given).json()["next"]
    same = {**given, "action": given["action"][::-1], "cursor": cursor}
    assert api.get("/v1/audit", params=same).json()["entries"]
    for change in ({"action": "pause_queue"}, {"outcome": None}, {"outcome": "refused"}, {"actor": "open"}):
        response = api.get("/v1/audit", params={**given, **change, "cursor": cursor})
        problem(response, 422, "invalid-input")
        assert pointers(response) == ["/cursor"]
