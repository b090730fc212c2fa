"""What the API does not take: every refusal is a problem that says what is wrong and where, and nothing is stored."""

import http.client
import json
from collections.abc import Iterator

import pytest

from backroom.store import Store
from tests.integration.api.service import Api, pointers, problem

JOB = {"name": "anything", "data": 1}
DATA_LIMIT = 256 * 1024
BODY_LIMIT = 1024 * 1024
BULK_LIMIT = 10 * 1024 * 1024


@pytest.fixture(autouse=True)
def nothing_is_stored(store: Store) -> Iterator[None]:
    yield
    assert store.queues.names() == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "line 1"),
        (b'{"name": "anything", "data": 1,}', "not JSON"),
        (b"{'name': 'anything'}", "not JSON"),
        (b'{"name": "anything", "data": 1} trailing', "Extra data"),
        (b'\xef\xbb\xbf{"name": "anything", "data": 1}', "BOM"),
        (b'{"name": "anything", "data": "\xff"}', "UTF-8"),
        (b'{"name": "anything", "data": "\\ud800"}', "surrogate"),
        (b'{"name": "anything", "data": 1, "data": 2}', "'data' stands twice"),
        (b'{"name": "anything", "data": {"a": 1, "a": 1}}', "'a' stands twice"),
        (b'{"name": "anything", "data": ' + b"1" * 5000 + b"}", "too long"),
    ],
)
def test_malformed_json(api: Api, body: bytes, said: str) -> None:
    assert said in problem(api.send("/v1/jobs", body), 400, "malformed-json")["detail"]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have(api: Api, word: str) -> None:
    response = api.send("/v1/jobs", b'{"name": "anything", "data": {"a": [1, %s]}}' % word.encode())
    assert word in problem(response, 400, "malformed-json")["detail"]
    assert pointers(response) == ["/data/a/1"]


def test_numbers_beyond_what_can_be_kept(api: Api) -> None:
    response = api.send("/v1/jobs", b'{"name": "anything", "data": 1e999}')
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/data"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ([], [""]),
        (None, [""]),
        ("text", [""]),
        ({}, ["/name", "/data"]),
        ({"name": "anything"}, ["/data"]),
        ({"data": 1}, ["/name"]),
        ({**JOB, "name": 5}, ["/name"]),
        ({**JOB, "name": "unheard-of"}, ["/name"]),
        ({**JOB, "name": "a/b"}, ["/name"]),
        ({**JOB, "name": ""}, ["/name"]),
        ({**JOB, "name": "n" * 129}, ["/name"]),
        ({**JOB, "queue": ".."}, ["/queue"]),
        ({**JOB, "queue": "a b"}, ["/queue"]),
        ({**JOB, "queue": 1}, ["/queue"]),
        ({**JOB, "nmae": "x"}, ["/nmae"]),
        ({**JOB, "a/b~c": "x"}, ["/a~1b~0c"]),
        ({**JOB, "options": []}, ["/options"]),
        ({**JOB, "options": {"atempts": 3}}, ["/options/atempts"]),
        ({**JOB, "options": {"attempts": 0}}, ["/options/attempts"]),
        ({**JOB, "options": {"attempts": "3"}}, ["/options/attempts"]),
        ({**JOB, "options": {"priority": 1.5}}, ["/options/priority"]),
        ({**JOB, "options": {"priority": -1}}, ["/options/priority"]),
        ({**JOB, "options": {"priority": 2097152}}, ["/options/priority"]),
        ({**JOB, "options": {"priority": True}}, ["/options/priority"]),
        ({**JOB, "options": {"delay": -1}}, ["/options/delay"]),
        ({**JOB, "options": {"delay": 10**30}}, ["/options/delay"]),
        ({**JOB, "options": {"delay": 1, "runAt": "2030-01-01T00:00:00Z"}}, ["/options"]),
        ({**JOB, "options": {"runAt": "tomorrow"}}, ["/options/runAt"]),
        ({**JOB, "options": {"runAt": "0001-01-01T00:00:00+14:00"}}, ["/options/runAt"]),
        ({**JOB, "options": {"runAt": "9999-12-31T23:59:59-14:00"}}, ["/options/runAt"]),
        ({**JOB, "options": {"runAt": "1969-12-31T23:59:59Z"}}, ["/options/runAt"]),
        ({**JOB, "options": {"runAt": "2100-01-01T00:00:00Z"}}, ["/options/runAt"]),
        ({**JOB, "options": {"runAt": 1700000000}}, ["/options/runAt"]),
        ({**JOB, "options": {"runAt": "2030-01-01T00:00:00"}}, ["/options/runAt"]),
        ({**JOB, "options": {"backoff": {"type": "linear", "delay": 1}}}, ["/options/backoff/type"]),
        ({**JOB, "options": {"backoff": {"type": "fixed", "delay": 1, "jitter": 2}}}, ["/options/backoff/jitter"]),
        ({**JOB, "options": {"jobId": "a b"}}, ["/options/jobId"]),
        ({**JOB, "options": {"jobId": "a/b"}}, ["/options/jobId"]),
        ({**JOB, "options": {"jobId": "é"}}, ["/options/jobId"]),
        ({**JOB, "options": {"jobId": "."}}, ["/options/jobId"]),
        ({**JOB, "options": {"jobId": 7}}, ["/options/jobId"]),
        ({**JOB, "options": {"jobId": "a\n"}}, ["/options/jobId"]),
        ({**JOB, "options": {"tags": ["ok", ""]}}, ["/options/tags/1"]),
        ({**JOB, "options": {"tags": ["t"] * 11}}, ["/options/tags"]),
        ({**JOB, "options": {"tags": ["a\u0000"]}}, ["/options/tags/0"]),
        ({**JOB, "options": {"removeOnComplete": "yes"}}, ["/options/removeOnComplete"]),
        ({**JOB, "options": {"repeat": {"every": 1}}}, ["/options/repeat"]),
        ({**JOB, "options": {"deduplication": {"id": "x"}}}, ["/options/deduplication"]),
        (
            {**JOB, "name": 5, "options": {"priority": 1.5, "delay": -1}},
            ["/name", "/options/delay", "/options/priority"],
        ),
        ({"name": "heavy-task", "data": {"payload": {"rounds": "3"}}}, ["/data/userId", "/data/payload/rounds"]),
    ],
)
def test_submissions_that_are_not_valid(api: Api, body: object, where: list[str]) -> None:
    response = api.send("/v1/jobs", json.dumps(body).encode())
    problem(response, 422, "invalid-input")
    assert sorted(pointers(response)) == sorted(where)


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else 0


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["/userId", "/payload"]),
        ({"userId": 1, "payload": {}}, ["/userId"]),
        ({"userId": "", "payload": {}}, ["/userId"]),
        ({"userId": "u", "payload": []}, ["/payload"]),
        ({"userId": "u", "payload": None}, ["/payload"]),
        ({"userId": "u", "payload": {"rounds": 0}}, ["/payload/rounds"]),
        ({"userId": "u", "payload": {"x": nested(70)}}, ["/payload"]),
        ({"userId": "u", "payload": {}, "option": {}}, ["/option"]),
        ({"userId": "u", "payload": {}, "options": {"priority": 1.5}}, ["/options/priority"]),
    ],
)
def test_the_quick_door_points_into_its_own_body(api: Api, body: object, where: list[str]) -> None:
    response = api.post("/jobs/enqueue", body)
    problem(response, 422, "invalid-input")
    assert sorted(pointers(response)) == sorted(where)


def test_a_number_too_large_for_a_float_in_the_quick_door(api: Api) -> None:
    response = api.send("/jobs/enqueue", b'{"userId": "u", "payload": {"x": 1e999}}')
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/payload"]


def test_an_unknown_job_type_is_refused_with_the_known_ones(api: Api) -> None:
    response = api.post("/v1/jobs", {**JOB, "name": "unheard-of"})
    [error] = problem(response, 422, "invalid-input")["errors"]
    assert error["code"] == "unknown-job-type"
    assert "anything, heavy-task" in error["message"]


def test_an_option_of_bullmq_without_meaning_here_is_told_what_to_do_instead(api: Api) -> None:
    response = api.post("/v1/jobs", {**JOB, "options": {"repeat": {"pattern": "* * * * *"}}})
    assert "/v1/schedules" in response.json()["detail"]


@pytest.mark.parametrize("depth", [65, 900, 100_000])
def test_data_that_is_nested_too_deeply(api: Api, depth: int) -> None:
    response = api.send("/v1/jobs", b'{"name": "anything", "data": %s1%s}' % (b"[" * depth, b"]" * depth))
    problem(response, 422, "invalid-input")
    assert response.json()["errors"][0]["code"] == "too-deep"


def test_data_above_its_limit(api: Api) -> None:
    fits = DATA_LIMIT - 2
    response = api.post("/v1/jobs", {"name": "anything", "data": "é" * (fits // 2) + "x"})
    assert f"limit is {DATA_LIMIT} bytes" in problem(response, 413, "too-large")["detail"]
    response = api.post("/jobs/enqueue", {"userId": "u", "payload": {"x": "x" * fits}})
    assert "/payload" in problem(response, 413, "too-large")["detail"]
    response = api.post("/v1/jobs/bulk", {"jobs": [JOB, {**JOB, "data": "x" * fits + "x"}]})
    assert "/jobs/1/data" in problem(response, 413, "too-large")["detail"]


@pytest.mark.parametrize(("path", "limit"), [("/v1/jobs", BODY_LIMIT), ("/v1/jobs/bulk", BULK_LIMIT)])
def test_bodies_above_their_limit(api: Api, path: str, limit: int) -> None:
    body = b'{"name": "' + b"x" * limit + b'"}'
    assert f"limit is {limit} bytes" in problem(api.send(path, body), 413, "too-large")["detail"]
    chunks = (body[at : at + 65536] for at in range(0, len(body), 65536))
    response = api.call("POST", path, data=chunks, headers={"Content-Type": "application/json"})
    assert f"limit is {limit} bytes" in problem(response, 413, "too-large")["detail"]


def test_a_body_of_a_hundred_megabytes_is_refused_and_the_next_request_is_answered(api: Api) -> None:
    chunks = (b"x" * 1_000_000 for _ in range(100))
    try:
        response = api.call("POST", "/v1/jobs", data=chunks, headers={"Content-Type": "application/json"})
        problem(response, 413, "too-large")
    except OSError:
        pass  # closed while the client was still sending: that is a refusal as well
    assert api.get("/v1/queues").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_bodies_that_are_not_json_by_their_headers(api: Api, headers: dict[str, str]) -> None:
    response = api.call("POST", "/v1/jobs", data=json.dumps(JOB).encode(), headers=headers)
    problem(response, 415, "unsupported-media-type")


def test_a_body_that_is_not_there(api: Api) -> None:
    response = api.call("POST", "/v1/jobs")
    assert "body" in problem(response, 400, "bad-request")["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("DELETE", "/jobs/enqueue", "POST"),
        ("GET", "/jobs/enqueue", "POST"),
        ("OPTIONS", "/v1/jobs", "GET, HEAD, POST"),
        ("PATCH", "/v1/queues/q/limits", "DELETE, PUT"),
        ("POST", "/livez", "GET, HEAD"),
        ("TRACE", "/", "GET, HEAD"),
    ],
)
def test_methods_an_address_does_not_answer(api: Api, method: str, path: str, allowed: str) -> None:
    response = api.call(method, path)
    problem(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/jobs/", "/v1//jobs", "/v1/jobs/a/b", "/v1/jobs/%00/x", "/%ff"]
)
def test_addresses_that_do_not_exist(api: Api, path: str) -> None:
    problem(api.get(path), 404, "not-found")


@pytest.mark.parametrize("job_id", ["nobody", "a%20b", "%00", "..%2f..", "%ff", "x" * 5000, "*", "%2A", "é"])
@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("GET", "/result"), ("GET", "/logs"), ("POST", "/cancel"), ("POST", "/promote"), ("DELETE", "")],
)
def test_jobs_that_do_not_exist(api: Api, method: str, rest: str, job_id: str) -> None:
    problem(api.call(method, f"/v1/jobs/{job_id}{rest}"), 404, "not-found")


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("stat=waiting", ["/stat"]),
        ("state=asleep", ["/state/0"]),
        ("state=waiting&state=asleep", ["/state/1"]),
        ("limit=0", ["/limit"]),
        ("limit=201", ["/limit"]),
        ("limit=ten", ["/limit"]),
        ("limit=1.0", ["/limit"]),
        ("limit=1_0", ["/limit"]),
        ("limit=", ["/limit"]),
        ("limit=1&limit=2", ["/limit"]),
        ("from=yesterday", ["/from"]),
        ("from=1700000000", ["/from"]),
        ("to=2030-01-01T00:00:00", ["/to"]),
        ("sort=age", ["/sort"]),
        ("sort=runAt", ["/sort"]),
        ("cursor=nonsense", ["/cursor"]),
        ("cursor=", ["/cursor"]),
        ("queue=", ["/queue/0"]),
        ("q=", ["/q"]),
        ("q=%20%09", ["/q"]),
        ("limit=0&colour=red", ["/limit", "/colour"]),
    ],
)
def test_queries_that_are_not_valid(api: Api, query: str, where: list[str]) -> None:
    response = api.get(f"/v1/jobs?{query}")
    problem(response, 422, "invalid-input")
    assert sorted(pointers(response)) == sorted(where)


@pytest.mark.parametrize("path", ["/v1/queues", "/v1/job-types", "/livez", "/", "/v1/jobs/x", "/metrics"])
def test_no_address_swallows_a_parameter_it_does_not_know(api: Api, path: str) -> None:
    response = api.get(f"{path}?surprise=1")
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/surprise"]


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/queues/q/limits", {"concurrency": 0}, ["/concurrency"]),
        ("/v1/queues/q/limits", {"concurrency": 1.5}, ["/concurrency"]),
        ("/v1/queues/q/limits", {"rate": {"max": 1}}, ["/rate/duration"]),
        ("/v1/queues/q/limits", {"rate": {"max": 0, "duration": 1}}, ["/rate/max"]),
        ("/v1/queues/q/limits", {"rate": 5}, ["/rate"]),
        ("/v1/queues/q/limits", {"maxlength": 5}, ["/maxlength"]),
        ("/v1/queues/a%20b/limits", {"concurrency": 1}, ["/queue"]),
    ],
)
def test_limits_that_are_not_valid(api: Api, path: str, body: object, where: list[str]) -> None:
    response = api.call("PUT", path, json=body)
    problem(response, 422, "invalid-input")
    assert pointers(response) == where


def test_calls_without_a_body_take_none(api: Api) -> None:
    response = api.post("/v1/queues/q/pause", {"for": 5})
    problem(response, 422, "invalid-input")
    assert pointers(response) == ["/for"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil", ""])
def test_requests_to_a_foreign_host(api: Api, host: str) -> None:
    problem(api.get("/v1/jobs", headers={"Host": host}), 403, "foreign-request")
    problem(api.get("/nothing", headers={"Host": host}), 403, "foreign-request")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]", "[::1]:8000", "localhost."])
def test_requests_to_the_stacks_own_names(api: Api, host: str) -> None:
    assert api.get("/v1/queues", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_writes_on_behalf_of_another_site(api: Api, headers: dict[str, str]) -> None:
    problem(api.post("/v1/jobs", JOB, headers=headers), 403, "foreign-request")
    problem(api.call("DELETE", "/v1/jobs/x", headers=headers), 403, "foreign-request")
    assert api.get("/v1/queues", headers=headers).status_code == 200


def test_a_body_that_ends_too_soon_is_refused(api: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
    connection.putrequest("POST", "/v1/jobs")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b'{"name": "anything"')
    connection.sock.shutdown(1)
    response = connection.getresponse()
    assert response.status == 400
    assert json.loads(response.read())["type"] in {"/problems#bad-request", "/problems#malformed-json"}
    connection.close()


def test_a_body_of_broken_chunks_is_refused(api: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
    connection.putrequest("POST", "/v1/jobs")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders(b"nonsense\r\n{}\r\n0\r\n\r\n")
    response = connection.getresponse()
    assert response.status == 400
    assert json.loads(response.read())["type"] == "/problems#bad-request"
    connection.close()


def test_a_request_id_of_the_caller_is_echoed_and_a_strange_one_replaced(api: Api) -> None:
    assert api.get("/livez", headers={"X-Request-Id": "abc-123"}).headers["X-Request-Id"] == "abc-123"
    assert problem(api.get("/x", headers={"X-Request-Id": "me"}), 404, "not-found")["requestId"] == "me"
    for strange in ("a b", "x" * 129, '"', "<script>"):
        assert api.get("/livez", headers={"X-Request-Id": strange}).headers["X-Request-Id"] != strange
