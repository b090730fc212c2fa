"""Fixtures of the store's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.store.hand import Worker

if TYPE_CHECKING:
    from backroom.store import Store


@pytest.fixture
def worker(store: Store) -> Worker:
    """A worker that serves every queue and whose leases outlast the test."""
    return Worker(store)
