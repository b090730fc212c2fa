"""Submissions travel over connections of their own, which are no less safe than those of the pool."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError

from backroom.store import Store, connect
from backroom.store.connection import KeptConnections
from tests.unit.store.hand import a_job, state, submit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Connection, Redis

    from backroom.local.server import EmbeddedServer


class Interrupted(Exception):
    pass


NAME = "those-of-this-test"


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with connect(f"{redis_url}{'&' if '?' in redis_url else '?'}client_name={NAME}", timeout=10) as client:
        yield client


def connections(redis_url: str) -> list[str]:
    """The ids of the connections that the client has."""
    with connect(redis_url, timeout=10) as other:
        return [each["id"] for each in other.client_list() if each["name"] == NAME]


def test_calls_one_after_the_other_keep_their_connection(client: Redis, redis_url: str) -> None:
    kept = KeptConnections(client)
    kept.eval("return 1", 0)
    before = connections(redis_url)
    kept.eval("return 1", 0)

    assert connections(redis_url) == before
    assert len(before) == 1


def test_what_redis_refuses_is_raised_and_the_connection_stays(client: Redis, redis_url: str) -> None:
    kept = KeptConnections(client)
    kept.eval("return 1", 0)
    before = connections(redis_url)

    with pytest.raises(ResponseError, match="nonsense"):
        kept.eval("return redis.error_reply('nonsense')", 0)

    assert connections(redis_url) == before


def test_submissions_go_on_when_their_connections_were_cut(store: Store, redis_url: str) -> None:
    submit(store)
    with connect(redis_url, timeout=10) as other:
        other.client_kill_filter(_type="normal", skipme=True)

    assert state(store, submit(store)) == "waiting"


def test_an_answer_that_nobody_waited_for_is_not_the_next_call_s(own_server: EmbeddedServer) -> None:
    kept = KeptConnections(connect(own_server.url, timeout=10))
    kept.eval("return 'one before'", 0)

    def interrupt(*_: object) -> None:
        raise Interrupted

    def ask() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        kept.eval("return 'the first'", 0)

    before = signal.signal(signal.SIGALRM, interrupt)
    own_server.pause()
    try:
        with pytest.raises(Interrupted):
            ask()
    finally:
        signal.signal(signal.SIGALRM, before)
        own_server.resume()

    assert kept.eval("return 'the second'", 0) == "the second"


def test_a_connection_that_was_interrupted_on_its_way_up_is_used_by_nobody(client: Redis) -> None:
    """As a signal does that ends a job: the library has put its connection back into the pool, half made."""
    way_up = iter([True, False])

    def greet(connection: Connection) -> None:
        if next(way_up):
            raise Interrupted
        connection.on_connect()

    client.connection_pool.connection_kwargs["redis_connect_func"] = greet
    kept = KeptConnections(client)
    with pytest.raises(Interrupted):
        kept.eval("return 'the first'", 0)

    assert kept.eval("return 'the second'", 0) == "the second"


def test_a_time_out_is_not_tried_again(own_server: EmbeddedServer) -> None:
    store = Store(connect(own_server.url, timeout=6), prefix="t")  # a busy machine may take a while
    submit(store)
    own_server.pause()
    try:
        with pytest.raises(Exception, match="does not answer"):
            submit(store)
    finally:
        own_server.resume()

    assert state(store, submit(store)) == "waiting"


def test_a_forked_process_has_connections_of_its_own(client: Redis, redis_url: str) -> None:
    kept = KeptConnections(client)
    kept.eval("return 1", 0)
    done_reader, done_writer = os.pipe()
    over_reader, over_writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            kept.eval("return 1", 0)
            os.write(done_writer, b"!")
            os.read(over_reader, 1)
        finally:
            os._exit(0)
    os.read(done_reader, 1)
    found = connections(redis_url)
    os.write(over_writer, b"!")
    os.waitpid(child, 0)
    for end in (done_reader, done_writer, over_reader, over_writer):
        os.close(end)

    assert len(found) == 2


def test_threads_get_their_own_answers(client: Redis) -> None:
    kept = KeptConnections(client)
    wrong: list[str] = []

    def ask(thread: int) -> None:
        questions = [f"{thread} {call}" for call in range(50)]
        wrong.extend(each for each in questions if kept.eval("return ARGV[1]", 0, each) != each)

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert not wrong


def test_a_bounded_pool_keeps_connections_for_others(redis_url: str, key_prefix: str) -> None:
    store = Store(connect(redis_url, timeout=10, most=2), prefix=key_prefix)
    jobs = [a_job() for _ in range(2)]
    threads = [threading.Thread(target=store.submission.submit, args=(jobs,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(store.inspection.states([job.id for job in jobs])) == 2
