"""The client of the jobs against real servers, some of them hostile."""

from __future__ import annotations

import gzip
import socket
import threading
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from backroom.outbound import AddressRefused, CallFailed, NetworkPolicy, NotCallable, Outbound, ResponseTooLarge
from tests.integration.jobs.servers import Answer, Authority, Request, http_server
from tests.integration.ports import held_port

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACK = NetworkPolicy([ip_network("127.0.0.0/8"), ip_network("::1/128")])
ONLY_THE_FIRST = NetworkPolicy([ip_network("127.0.0.1/32")])


@pytest.fixture
def client() -> Iterator[Outbound]:
    with Outbound(policy=LOOPBACK, timeout=30, max_bytes=100_000) as client:
        yield client


def hello(request: Request) -> Answer:
    return Answer(body=b"hello", headers={"X-Kind": "greeting"})


def test_an_allowed_server_is_called(client: Outbound) -> None:
    with http_server(hello) as server:
        response = client.get(f"{server.url}/path?query=1", {"X-Asked": "yes"})
    assert (response.status, response.body, response.headers["x-kind"]) == (200, b"hello", "greeting")
    assert response.url == f"{server.url}/path?query=1"
    (request,) = server.requests
    assert request.path == "/path?query=1"
    assert request.headers["X-Asked"] == "yes"
    assert request.headers["Host"] == f"127.0.0.1:{server.port}"


def test_a_body_is_posted(client: Outbound) -> None:
    with http_server(hello) as server:
        client.post(server.url, b"\x00body", {"Content-Type": "x/y"})
    assert [(request.method, request.body) for request in server.requests] == [("POST", b"\x00body")]


def test_one_connection_serves_many_calls_to_a_host(client: Outbound) -> None:
    with http_server(hello) as server:
        for _ in range(3):
            client.get(server.url)
    assert len(server.requests) == 3
    assert len({request.caller for request in server.requests}) == 1


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "127.0.0.2",
    ],
)
def test_by_default_this_machine_is_refused_however_it_is_spelt(host: str) -> None:
    with http_server(hello, address="0.0.0.0") as server, Outbound(timeout=30) as client:
        with pytest.raises(AddressRefused):
            client.get(f"http://{host}:{server.port}/")
        with pytest.raises(AddressRefused):
            client.post(f"http://{host}:{server.port}/", b"", {})
    assert server.requests == []


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.0.1", "172.16.0.1", "169.254.169.254", "[fe80::1]", "[fd00::1]"])
def test_by_default_private_networks_are_refused_without_a_packet(host: str) -> None:
    with Outbound(timeout=60) as client, pytest.raises(AddressRefused):
        client.get(f"http://{host}/latest/meta-data/")


def test_a_redirect_to_a_refused_address_is_refused() -> None:
    with (
        http_server(hello, address="127.0.0.2") as inner,
        http_server(lambda _: Answer(302, headers={"Location": f"{inner.url}/secret"})) as outer,
        Outbound(policy=ONLY_THE_FIRST, timeout=30) as client,
        pytest.raises(AddressRefused),
    ):
        client.get(outer.url)
    assert (len(outer.requests), inner.requests) == (1, [])


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/", "http://a:b@127.0.0.1/"]
)
def test_a_redirect_to_another_kind_of_address_is_refused(client: Outbound, location: str) -> None:
    with http_server(lambda _: Answer(302, headers={"Location": location})) as server, pytest.raises(NotCallable):
        client.get(server.url)


class Names:
    """A resolver for some names: each has answers, one a look-up, of which the last stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: list[str]) -> None:
        self.asked: list[str] = []
        real = socket.getaddrinfo

        def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            key = str(host).replace(".example", "")
            if key not in answers:
                return real(host, port, *args, **kwargs)
            self.asked.append(key)
            texts = answers[key].pop(0) if len(answers[key]) > 1 else answers[key][0]
            return [found for text in texts.split() for found in real(text, port, *args, **kwargs)]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_a_name_that_changes_its_address_after_the_check_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, rebind=["127.0.0.1", "127.0.0.2"])
    with (
        http_server(hello) as outer,
        http_server(lambda _: Answer(body=b"secret"), address="127.0.0.2", port=outer.port) as inner,
        Outbound(policy=ONLY_THE_FIRST, timeout=30) as client,
    ):
        assert client.get(f"http://rebind.example:{outer.port}/").body == b"hello"
    assert inner.requests == []
    assert names.asked == ["rebind"]


def test_a_name_with_a_refused_address_among_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, both=["127.0.0.1 127.0.0.2"])
    with (
        http_server(hello) as server,
        Outbound(policy=ONLY_THE_FIRST, timeout=30) as client,
        pytest.raises(AddressRefused, match=r"127\.0\.0\.2"),
    ):
        client.get(f"http://both.example:{server.port}/")
    assert server.requests == []


def test_the_next_address_is_tried_when_one_does_not_answer(monkeypatch: pytest.MonkeyPatch, client: Outbound) -> None:
    Names(monkeypatch, two=["127.0.0.3 127.0.0.1"])
    with http_server(hello) as server:
        assert client.get(f"http://two.example:{server.port}/").body == b"hello"


def test_the_server_sees_the_name_and_not_the_address(monkeypatch: pytest.MonkeyPatch, client: Outbound) -> None:
    Names(monkeypatch, named=["127.0.0.1"])
    with http_server(hello) as server:
        client.get(f"http://named.example:{server.port}/")
    assert server.requests[0].headers["Host"] == f"named.example:{server.port}"


def test_tls_is_verified_against_the_name_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    Names(monkeypatch, right=["127.0.0.1"], wrong=["127.0.0.1"])
    with (
        http_server(hello, tls=authority.context("right.example")) as server,
        Outbound(policy=LOOPBACK, timeout=30, ca_file=str(authority.file)) as client,
    ):
        assert client.get(f"https://right.example:{server.port}/").body == b"hello"
        with pytest.raises(CallFailed, match=r"wrong\.example"):
            client.get(f"https://wrong.example:{server.port}/")
        with pytest.raises(CallFailed, match=r"127\.0\.0\.1"):
            client.get(f"https://127.0.0.1:{server.port}/")
    assert len(server.requests) == 1


def test_tls_needs_an_authority_that_is_trusted(authority: Authority, client: Outbound) -> None:
    with (
        http_server(hello, tls=authority.context("127.0.0.1")) as server,
        pytest.raises(CallFailed, match="certificate verify failed"),
    ):
        client.get(server.url)


def test_a_proxy_of_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, client: Outbound) -> None:
    with http_server(lambda _: Answer(body=b"proxy")) as proxy, http_server(hello) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert client.get(server.url).body == b"hello"


def forward(request: Request) -> Answer:
    """/3 leads to /2, /1 and /0, which greets."""
    steps = int(request.path.strip("/"))
    return hello(request) if steps == 0 else Answer(307, headers={"Location": f"/{steps - 1}"})


def test_a_few_redirects_are_followed(client: Outbound) -> None:
    with http_server(forward) as server:
        response = client.get(f"{server.url}/5")
    assert (response.body, response.url) == (b"hello", f"{server.url}/0")


def test_more_redirects_are_not(client: Outbound) -> None:
    with http_server(forward) as server, pytest.raises(NotCallable, match="more than 5 times"):
        client.get(f"{server.url}/6")
    assert len(server.requests) == 6


def test_where_redirects_are_not_wanted_none_is_followed(client: Outbound) -> None:
    with http_server(forward) as server, pytest.raises(NotCallable, match="/0"):
        client.get(f"{server.url}/1", redirects=0)
    assert server.paths == ["/1"]


def test_a_posted_body_is_not_sent_elsewhere(client: Outbound) -> None:
    with http_server(forward) as server:
        assert client.post(f"{server.url}/1", b"x", {}).status == 307
    assert server.paths == ["/1"]


def test_headers_are_for_the_first_origin_only(client: Outbound) -> None:
    with (
        http_server(hello) as other,
        http_server(lambda _: Answer(302, headers={"Location": other.url})) as server,
    ):
        client.get(server.url, {"Authorization": "Bearer secret"})
    assert server.requests[0].headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in other.requests[0].headers


def test_a_redirect_never_takes_tls_away(authority: Authority) -> None:
    with (
        http_server(hello) as plain,
        http_server(
            lambda _: Answer(302, headers={"Location": plain.url}), tls=authority.context("127.0.0.1")
        ) as secure,
        Outbound(policy=LOOPBACK, timeout=30, ca_file=str(authority.file)) as client,
        pytest.raises(NotCallable, match="without TLS"),
    ):
        client.get(secure.url)
    assert plain.requests == []


def test_an_endless_body_of_a_redirect_is_not_read(client: Outbound) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65_536

    with (
        http_server(lambda _: Answer(302, endless(), {"Location": "/next"})) as server,
        pytest.raises(ResponseTooLarge),
    ):
        client.get(server.url)


@pytest.mark.parametrize("size", [100_000, 100_001])
@pytest.mark.parametrize("parts", [False, True])
def test_a_body_is_read_up_to_the_limit(client: Outbound, size: int, *, parts: bool) -> None:
    body = b"x" * size
    with http_server(lambda _: Answer(body=(iter([body]) if parts else body))) as server:
        if size == 100_000:
            assert client.get(server.url).body == body
        else:
            with pytest.raises(ResponseTooLarge, match="100000"):
                client.get(server.url)


def test_chunks_are_joined(client: Outbound) -> None:
    chunked = [b"5\r\nhello\r\n", b"6\r\n world\r\n", b"0\r\n\r\n"]
    with http_server(lambda _: Answer(body=iter(chunked), headers={"Transfer-Encoding": "chunked"})) as server:
        assert client.get(server.url).body == b"hello world"


def test_a_compressed_body_is_unpacked(client: Outbound) -> None:
    with http_server(lambda _: Answer(body=gzip.compress(b"hello"), headers={"Content-Encoding": "gzip"})) as server:
        assert client.get(server.url).body == b"hello"


def test_a_compressed_body_counts_unpacked(client: Outbound) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 100_000
    with (
        http_server(lambda _: Answer(body=bomb, headers={"Content-Encoding": "gzip"})) as server,
        pytest.raises(ResponseTooLarge),
    ):
        client.get(server.url)


def test_a_body_that_breaks_off_is_worth_a_retry(client: Outbound) -> None:
    with (
        http_server(lambda _: Answer(body=iter([b"half"]), headers={"Content-Length": "8"})) as server,
        pytest.raises(CallFailed),
    ):
        client.get(server.url)


def test_a_server_that_does_not_answer_is_given_up() -> None:
    done = threading.Event()

    def silent(request: Request) -> Answer:
        done.wait(30)
        return Answer()

    with http_server(silent) as server, Outbound(policy=LOOPBACK, timeout=0.2) as client:
        with pytest.raises(CallFailed, match="timed out"):
            client.get(server.url)
        done.set()


def test_a_server_that_drips_its_body_is_given_up() -> None:
    done = threading.Event()

    def dripping() -> Iterator[bytes]:
        while not done.wait(0.05):
            yield b"x"

    with http_server(lambda _: Answer(body=dripping())) as server, Outbound(policy=LOOPBACK, timeout=0.2) as client:
        with pytest.raises(CallFailed, match="whole answer"):
            client.get(server.url)
        done.set()


def test_nobody_at_the_port_is_worth_a_retry(client: Outbound) -> None:
    with held_port() as port, pytest.raises(CallFailed):
        client.get(f"http://127.0.0.1:{port}/")


def test_a_name_that_does_not_resolve_is_worth_a_retry(client: Outbound) -> None:
    with pytest.raises(CallFailed):
        client.get("http://no-such-name.invalid/")
