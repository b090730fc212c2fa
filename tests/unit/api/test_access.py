"""Open mode: which hosts and origins are our own."""

import pytest
from werkzeug.test import create_environ
from werkzeug.wrappers import Request

from backroom.settings import Settings
from backroom.store.api_keys import KeyRecords
from services.api.http.access import Guard, Principal
from services.api.http.problems import Problem


class NoKeys:
    """A store without keys."""

    def read(self, known: str = "") -> KeyRecords | None:
        return None if known else KeyRecords("none", {})

    def use(self, key_id: str) -> None:
        raise AssertionError(key_id)


SETTINGS = Settings(allowed_hosts=("api", "jobs.example.org", "exact.example.org:8443"))
OPEN = Guard(SETTINGS, NoKeys(), fresh_seconds=1)


def check(method: str = "GET", **headers: str) -> None:
    environ = create_environ(method=method)
    environ["HTTP_HOST"] = headers.pop("Host", "localhost:8000")
    for name, value in headers.items():
        environ[f"HTTP_{name.upper()}"] = value
    OPEN.check_origin(Request(environ))


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "[::1]:8000", "API:8000", "jobs.example.org.", "exact.example.org:8443"]
)
def test_own_hosts(host: str) -> None:
    check(Host=host)


@pytest.mark.parametrize(
    "host",
    ["", "evil", "api.evil", "user@evil", "localhost@evil", "exact.example.org", "[::1", "[::2]", "localhost:x@y"],
)
def test_foreign_hosts(host: str) -> None:
    with pytest.raises(Problem) as failure:
        check(Host=host)
    assert failure.value.kind.status == 403


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8000", "localhost:8000"),
        ("https://jobs.example.org", "jobs.example.org"),
        ("https://jobs.example.org", "api:8000"),
    ],
)
def test_writes_from_own_pages(origin: str, host: str) -> None:
    check("POST", Host=host, Origin=origin, Sec_Fetch_Site="same-origin")


@pytest.mark.parametrize(
    "origin", ["null", "", "http://localhost", "http://localhost:3000", "file://", "javascript://jobs.example.org"]
)
def test_writes_from_foreign_pages(origin: str) -> None:
    with pytest.raises(Problem):
        check("DELETE", Origin=origin)
    check("GET", Origin=origin)


def test_a_key_is_bound_to_its_queues_and_types() -> None:
    free, bound = Principal("a", frozenset()), Principal("b", frozenset(), frozenset({"q"}), frozenset({"t"}))
    assert free.may_touch(queue="any", name="any")
    assert bound.may_touch(queue="q", name="t")
    assert not bound.may_touch(queue="q", name="other")
    assert not bound.may_touch(queue="other", name="t")
    assert (free.bound, bound.bound) == (False, True)
