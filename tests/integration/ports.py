"""Ports that nobody else gets."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from backroom.local.server import HeldPort

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["held_port"]


@contextmanager
def held_port() -> Iterator[int]:
    """The number of a port on which nobody listens, while the test needs it."""
    port = HeldPort()
    yield port.number
    port.release()
