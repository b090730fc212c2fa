"""The line to one who listens: written to directly, by whoever has something to say, and never waited for."""

from __future__ import annotations

import re
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from backroom.settings import Settings
from backroom.store import Store, connect
from services.api.http.feed import Feed, Topic
from services.api.http.line import Line, chunk_of
from services.api.http.streams import EventStream, frame_of
from tests.unit.store.hand import a_job, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

HTTP = {"SERVER_PROTOCOL": "HTTP/1.1"}


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end of a connection, and the listener's."""
    server, listener = socket.socketpair()
    for end in (server, listener):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        end.settimeout(20)
    with server, listener:
        yield server, listener


def received(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += connection.recv(65536)
    return found


def test_what_can_be_sent_is_sent_at_once_and_the_rest_when_there_is_time(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    server, listener = ends
    line = Line({**HTTP, "gunicorn.socket": server})
    line.open()

    assert line.write(b"short")
    assert not line.write(b"long" * 100_000)

    line.close()
    flushed = threading.Thread(target=line.flush)
    flushed.start()
    assert received(listener, 400_005) == b"short" + b"long" * 100_000
    flushed.join(20)
    assert not line.is_gone()


def test_one_who_has_gone_is_noticed_when_something_is_said_and_when_nothing_is(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    server, listener = ends
    line = Line({**HTTP, "gunicorn.socket": server})
    line.open()
    listener.close()

    assert line.is_gone()
    assert not line.write(b"hello?")
    with pytest.raises(OSError, match="pipe"):
        line.flush()


@pytest.mark.parametrize(
    "environ", [{}, HTTP, {"gunicorn.socket": None, **HTTP}, {"gunicorn.socket": object(), **HTTP}]
)
def test_without_a_connection_of_its_own_the_server_sends(environ: dict[str, object]) -> None:
    line = Line(environ)

    assert not line.is_open
    assert not line.is_gone()
    line.flush()


@pytest.mark.parametrize(
    ("more", "is_open", "is_chunked"),
    [
        ({"SERVER_PROTOCOL": "HTTP/1.1"}, True, True),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, True, False),
        ({"SERVER_PROTOCOL": "HTTP/2"}, False, False),
        ({"SERVER_PROTOCOL": "HTTP/1.1", "HTTP_VERSION": "2"}, False, True),
    ],
)
def test_only_the_old_versions_of_http_are_plain_text(
    ends: tuple[socket.socket, socket.socket], more: dict[str, str], *, is_open: bool, is_chunked: bool
) -> None:
    line = Line({"gunicorn.socket": ends[0], **more})

    assert (line.is_open, line.is_chunked) == (is_open, is_chunked)


@pytest.fixture
def store(redis_url: str, key_prefix: str) -> Iterator[Store]:
    """An empty store whose connections may be read from for long, and whose readers are waited for as long."""
    with connect(redis_url, timeout=10) as client:
        yield Store(client, prefix=key_prefix, settings=Settings(redis_timeout_seconds=60))


def serve(stream: EventStream, connection: socket.socket) -> None:
    """What a server does with an answer: sends what it yields, each piece as a chunk."""
    try:
        for piece in stream:
            connection.sendall(chunk_of(piece))
        connection.sendall(b"0\r\n\r\n")
    finally:
        stream.close()


def hear(connection: socket.socket, heard: bytearray) -> None:
    """Read the body of a chunked answer to its end. The test fails for want of an end if the chunks are not whole."""
    file = connection.makefile("rb")
    while size := int(file.readline(), 16):
        heard += file.read(size)
        assert file.read(2) == b"\r\n"
    heard += b"the end"


@pytest.mark.parametrize("heartbeat_seconds", [10, 0.01])
def test_one_who_takes_his_time_hears_everything_once_and_in_order(
    store: Store, ends: tuple[socket.socket, socket.socket], heartbeat_seconds: float
) -> None:
    """Told by the reader of events, from the store, or by the stream's own thread, which beats in between."""
    server, listener = ends
    draining = threading.Event()
    feed = Feed(store, frame_of, is_draining=draining.is_set)
    stream = EventStream.of_topic(
        store, feed, Topic(types=frozenset({"added"})), None, heartbeat_seconds=heartbeat_seconds,
        on_close=lambda: None, line=Line({**HTTP, "gunicorn.socket": server}),
    )  # fmt: skip
    serving = threading.Thread(target=serve, args=(stream, server))
    serving.start()
    ids = [store.submission.submit([a_job()])[0].id for _ in range(50)]
    ids += [each.id for _ in range(5) for each in store.submission.submit([a_job() for _ in range(400)])]
    heard = bytearray()
    threading.Thread(target=hear, args=(listener, heard)).start()  # only now
    ids += [store.submission.submit([a_job()])[0].id for _ in range(50)]
    eventually(lambda: heard.count(b"event: added"), until=lambda number: number == len(ids))

    draining.set()
    serving.join(20)
    eventually(lambda: heard.endswith(b"the end"))
    assert re.findall(r'"jobId":"([^"]+)"', heard.decode()) == ids
    assert heard.count(b"event: reset") == 0
