"""The parts of the client that need no network; `tests/integration/jobs` has the others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backroom import RetryAfter, Unrecoverable
from backroom.outbound import (
    CallFailed,
    NotCallable,
    Outbound,
    Response,
    check_status,
    origin,
    retry_after,
)

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("Tue, 01 Jan 2030 12:01:30 GMT", 90.0),
        ("Tue, 01 Jan 2030 12:01:30 -0000", 90.0),
        ("Tue, 01 Jan 2030 11:00:00 GMT", 0.0),
        ("999999999999", 86_400.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}, NOW) == seconds


def test_without_the_header_there_is_nothing_to_wait_for() -> None:
    assert retry_after({}, NOW) is None


def answer(status: int, **headers: str) -> Response:
    return Response(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, b"", "https://a.example/x?key=1"
    )


@pytest.mark.parametrize("status", [200, 201, 204, 299, 304])
def test_success_passes(status: int) -> None:
    check_status(answer(status))


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_names_a_time_is_obeyed(status: int) -> None:
    with pytest.raises(RetryAfter) as ending:
        check_status(answer(status, Retry_After="30"))
    assert ending.value.seconds == 30


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with pytest.raises(CallFailed, match=f"^https://a.example answered {status}$"):
        check_status(answer(status))


@pytest.mark.parametrize("status", [100, 301, 400, 401, 403, 404, 410, 422])
def test_what_will_not_pass_is_not(status: int) -> None:
    with pytest.raises(Unrecoverable, match=str(status)):
        check_status(answer(status, Retry_After="30"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Example.COM/Path", "https://example.com"),
        ("https://example.com:443/", "https://example.com"),
        ("http://example.com:443/", "http://example.com:443"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, expected: str) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "http://",
        "http:///path",
        "http://user:password@example.com/",
        "http://1.1.1.1@example.com/",
        "http://[::1",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://a..b/",
        "http://" + "x" * 64 + ".example/",
        "http://.example/",
    ],
)
def test_what_is_no_address_to_call_is_not_called(url: str) -> None:
    with Outbound() as client, pytest.raises(NotCallable):
        client.get(url)


def test_a_header_with_a_line_break_is_not_sent() -> None:
    with Outbound() as client, pytest.raises(NotCallable):
        client.get("https://1.1.1.1/", {"X": "a\r\nY: b"})
