"""Behind sentinels, whoever is the primary now is asked; a failover needs no restart."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import redis

from backroom.local.server import EmbeddedServer, HeldPort, find_server_binary
from backroom.store import Store, connect
from tests.unit.store.hand import submit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60
HOST, NAME = "127.0.0.1", "stack"


class Watched:
    """Two servers of which a sentinel says which one is the primary: the first one, at the beginning."""

    def __init__(self, first: EmbeddedServer, second: EmbeddedServer, sentinel: redis.Redis, port: int) -> None:
        self.first, self.second, self._sentinel = first, second, sentinel
        self.url = f"sentinel://{HOST}:{port}/{NAME}/0"
        sentinel.sentinel_monitor(NAME, HOST, first.port, 1)

    def change_over(self) -> None:
        """The second one is the primary from now on."""
        self._sentinel.sentinel_remove(NAME)
        self._sentinel.sentinel_monitor(NAME, HOST, self.second.port, 1)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    held = HeldPort()
    settings = tmp_path / "sentinel.conf"
    settings.write_text(f"bind {HOST}\nport {held.number}\ndir {tmp_path}\n")
    with (
        EmbeddedServer(tmp_path / "first", appendonly=False) as first,
        EmbeddedServer(tmp_path / "second", appendonly=False) as second,
        (tmp_path / "sentinel.log").open("wb") as log,
        subprocess.Popen([find_server_binary(), settings, "--sentinel"], stdout=log, stderr=log) as process,
        redis.Redis(HOST, held.number, socket_timeout=PATIENCE) as sentinel,
    ):
        deadline = time.monotonic() + PATIENCE
        try:
            while not _answers(sentinel):
                assert process.poll() is None, (tmp_path / "sentinel.log").read_text()
                assert time.monotonic() < deadline
            yield Watched(first, second, sentinel, held.number)
        finally:
            process.kill()
            held.release()


def _answers(server: redis.Redis) -> bool:
    with suppress(redis.ConnectionError):
        return bool(server.ping())
    return False


@pytest.mark.parametrize("most", [None, 8])
@pytest.mark.parametrize("fate", ["killed", "demoted"])
def test_submissions_go_to_the_new_primary_at_once(watched: Watched, fate: str, most: int | None) -> None:
    with connect(watched.url, timeout=10, most=most) as client, connect(watched.second.url, timeout=10) as second:
        store = Store(client, prefix="watched")
        before = submit(store)
        watched.change_over()
        if fate == "killed":
            watched.first.kill()
        else:
            with connect(watched.first.url, timeout=10) as first:
                first.replicaof(HOST, watched.second.port)
        after = [submit(store) for _ in range(3)]

        assert Store(second, prefix="watched").inspection.states([before, *after]) == [None, *["waiting"] * 3]
        assert store.inspection.get(after[0]).id == after[0]


def test_there_are_no_more_connections_than_there_may_be(watched: Watched) -> None:
    with connect(watched.url, timeout=10, most=2) as client:
        pool = client.connection_pool
        pool.timeout = 0.01  # who would wait is refused
        held = [pool.get_connection() for _ in range(2)]
        with pytest.raises(redis.ConnectionError, match="No connection available"):
            client.ping()
        for each in held:
            pool.release(each)
        assert client.ping()
