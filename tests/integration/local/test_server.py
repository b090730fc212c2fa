"""The embedded server: what the tests and ``make run`` rest on."""

import signal
import socket as sockets
import sys

import psutil
import pytest
import redis

from backroom.local.server import AddressTaken, EmbeddedServer, ServerError, find_server_binary
from tests.integration.ports import held_port


@pytest.fixture(params=["socket", "port"])
def described(request, tmp_path):
    """A server that was not started, on either kind of address."""
    with held_port() as port:
        address = {"socket": tmp_path / "s.sock"} if request.param == "socket" else {"port": port}
        server = EmbeddedServer(tmp_path / "data", **address)
        yield server
        server.kill()


def test_it_answers_once_started_and_no_more_once_stopped(described):
    assert not described.answers()
    with described:
        assert described.answers()
    assert not described.answers()


def test_what_was_written_is_there_after_a_stop_and_another_start(described):
    with described, redis.Redis.from_url(described.url) as client:
        client.set("kept", "yes")
    with described, redis.Redis.from_url(described.url) as client:
        assert client.get("kept") == b"yes"


def test_what_was_synced_is_there_after_a_kill_and_another_start(tmp_path):
    with (
        EmbeddedServer(tmp_path, fsync="always") as server,
        redis.Redis.from_url(server.url) as client,
    ):
        client.set("kept", "yes")
        pid = server.pid
        server.kill()
        assert not psutil.pid_exists(pid)
        server.start()
        assert client.get("kept") == b"yes"


def test_a_server_without_append_only_file_forgets(tmp_path):
    server = EmbeddedServer(tmp_path, appendonly=False)
    with server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "no")
    with server, redis.Redis.from_url(server.url) as client:
        assert client.get("kept") is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody may listen on what another one holds")
def test_the_port_it_has_chosen_is_given_to_nobody_else_before_it_listens_or_after_it_was_killed(tmp_path):
    def is_kept():
        with sockets.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", server.port))

    server = EmbeddedServer(tmp_path, appendonly=False)
    try:
        for _ in range(2):
            is_kept()
            server.start()
            assert server.answers()
            server.kill()
        is_kept()
    finally:
        server.kill()


def test_a_paused_server_is_silent_until_it_is_resumed(described):
    with described:
        described.pause()
        assert not described.answers()
        described.resume()
        assert described.answers()


def test_a_paused_server_can_be_stopped(described):
    with described:
        described.pause()
    assert not described.answers()


def test_an_address_in_use_is_refused_with_what_to_do(described, tmp_path):
    with described:
        other = EmbeddedServer(tmp_path / "other", port=described.port, socket=described.socket)
        with pytest.raises(AddressTaken, match=r"choose another|another data folder"):
            other.start()


def test_a_running_server_is_not_started_twice(described):
    with described, pytest.raises(ServerError, match="runs already"):
        described.start()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path):
    with pytest.raises(ServerError, match="Bad directive"):
        EmbeddedServer(tmp_path, extra={"no-such-setting": "1"}).start()


def test_memory_that_runs_out_is_said_and_nothing_is_evicted(tmp_path):
    def fill(client):
        for number in range(20):
            client.set(f"filler-{number}", b"x" * 1_000_000)

    with (
        EmbeddedServer(tmp_path, extra={"maxmemory": "10mb"}) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        client.set("first", "here")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            fill(client)
        assert client.get("first") == b"here"


def test_a_socket_path_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(ServerError, match="use a port instead"):
        EmbeddedServer(tmp_path, socket=tmp_path / ("x" * 100))


def test_the_server_ends_with_the_process_that_started_it(tmp_path):
    code = f"""
import signal
from pathlib import Path
from backroom.local.server import EmbeddedServer
server = EmbeddedServer(Path({str(tmp_path)!r}))
server.start()
print(server.pid, flush=True)
signal.pause()
"""
    starter = psutil.Popen([sys.executable, "-c", code], stdout=-1, text=True)
    with starter.stdout:
        server = psutil.Process(int(starter.stdout.readline()))
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    server.wait(timeout=60)


def test_a_named_binary_is_used_and_a_missing_one_refused(monkeypatch):
    monkeypatch.setenv("BACKROOM_SERVER_BINARY", "/no/such/server")
    with pytest.raises(ServerError, match="BACKROOM_SERVER_BINARY"):
        find_server_binary()
    monkeypatch.setenv("BACKROOM_SERVER_BINARY", sys.executable)
    assert str(find_server_binary()) == sys.executable
