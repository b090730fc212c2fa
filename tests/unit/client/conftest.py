"""Fixtures of the client's tests: a server that plays a script, and a client for it whose time stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.client import Backroom, RetryPolicy
from tests.unit.client.scripted import Server, Time, server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api() -> Iterator[Server]:
    """A server that answers what the test tells it to."""
    with server() as running:
        yield running


@pytest.fixture
def time() -> Time:
    """The time of the client."""
    return Time()


@pytest.fixture
def policy(time: Time) -> RetryPolicy:
    """Four retries, without chance."""
    return RetryPolicy(random=lambda: 0.0, sleep=time.sleep, clock=time.clock)


@pytest.fixture
def room(api: Server, policy: RetryPolicy) -> Iterator[Backroom]:
    """A client of the server."""
    with Backroom(api.url, "a-key-of-sixteen", retries=policy) as client:
        yield client
