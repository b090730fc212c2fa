"""The alarm: sleeping on a wake-up key to the millisecond."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from backroom.model.errors import StoreUnavailable
from backroom.store import Store, connect
from backroom.store.alarm import Alarm
from tests.unit.store.hand import LONG, eventually, submit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.local.server import EmbeddedServer


@pytest.fixture
def alarm(store: Store, redis_url: str) -> Iterator[Alarm]:
    alarm = Alarm(redis_url, store.keys.wake("scheduler"), timeout=5)
    yield alarm
    alarm.reset()


def test_without_a_wake_up_it_sleeps_its_time(alarm: Alarm) -> None:
    begin = time.monotonic()

    assert not alarm.wait(0.03)

    assert time.monotonic() - begin >= 0.03


def test_a_wake_up_that_is_there_already_ends_the_sleep(store: Store, alarm: Alarm) -> None:
    submit(store, delay=LONG)

    assert alarm.wait(60)


def test_a_wake_up_ends_the_sleep_when_it_comes(store: Store, alarm: Alarm) -> None:
    woken: list[bool] = []
    sleeper = threading.Thread(target=lambda: woken.append(alarm.wait(60)))
    sleeper.start()
    eventually(lambda: int(store.redis.info("clients")["blocked_clients"]) > 0)

    submit(store, delay=LONG)
    sleeper.join(timeout=60)

    assert woken == [True]


def test_each_wake_up_ends_one_sleep(store: Store, alarm: Alarm) -> None:
    assert not alarm.wait(0.001)
    submit(store, delay=LONG)

    assert [alarm.wait(5), alarm.wait(0.001)] == [True, False]


def test_a_server_that_goes_away_is_unavailable_and_a_new_one_is_found(own_server: EmbeddedServer) -> None:
    store = Store(connect(own_server.url, timeout=10), prefix="t")
    alarm = Alarm(own_server.url, store.keys.wake("scheduler"), timeout=5)
    alarm.wait(0.001)
    own_server.stop()

    with pytest.raises(StoreUnavailable):
        alarm.wait(5)
    with pytest.raises(StoreUnavailable):
        alarm.wait(5)
    own_server.start()
    submit(store, delay=LONG)

    assert alarm.wait(5)
    alarm.reset()
