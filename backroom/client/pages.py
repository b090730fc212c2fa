"""Lists that come page by page."""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from backroom.client.channel import Channel, Query

__all__ = ["MAX_PAGE", "pages"]

T = TypeVar("T")

MAX_PAGE: Final = 200
"""The most that one page may hold."""


def pages(channel: Channel, path: str, name: str, read: Callable[[Any], T], query: Query | None = None) -> Iterator[T]:
    """Everything in the list of this ``name`` at ``path``, fetched page by page as it is asked for."""
    given: Query = {"limit": MAX_PAGE, **(query or {})}
    cursor: str | None = None
    while True:
        asked: Query = given if cursor is None else {**given, "cursor": cursor}
        answer = channel.call("GET", path, query=asked)
        found, cursor = answer.read(lambda raw: ([read(each) for each in raw[name]], raw["next"]))
        yield from found
        if cursor is None:
            return
