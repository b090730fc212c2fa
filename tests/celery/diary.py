"""What happens inside workers, told to the tests through lists in Redis: they wait for it instead of sleeping."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

import redis

__all__ = ["PATIENCE", "Diary", "note", "wait_for_page"]

#: What has not happened after so many seconds never will.
PATIENCE = 30


class Diary:
    """Pages of notes; a page is named by the id of a task, or by a word."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, decode_responses=True, socket_timeout=None)

    def note(self, page: str, *what: Any) -> None:
        """Write a line."""
        self._redis.rpush(f"diary:{page}", json.dumps(what, default=str))

    def next(self, page: str, within: float = PATIENCE) -> list[Any]:
        """The next line of the page, waiting for it."""
        found = self._redis.blpop([f"diary:{page}"], within)
        assert found, f"nothing was noted on page {page} within {within} s"
        line: list[Any] = json.loads(found[1])
        return line

    def until(self, page: str, word: str) -> list[list[Any]]:
        """The next lines of the page, up to the one that begins with the word."""
        lines = [self.next(page)]
        while lines[-1][0] != word:
            lines.append(self.next(page))
        return lines

    def lines(self, page: str) -> list[Any]:
        """What is on the page and was not read yet."""
        return [json.loads(line) for line in self._redis.lrange(f"diary:{page}", 0, -1)]

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()


@cache
def _own(_pid: int) -> Diary:
    return Diary(os.environ["DIARY_URL"])


def note(page: str, *what: Any) -> None:
    """In a worker: write a line into the diary of this run."""
    _own(os.getpid()).note(page, *what)


def wait_for_page(page: str, within: float = PATIENCE) -> list[Any]:
    """In a task: wait until a test writes something on the page."""
    return _own(os.getpid()).next(page, within)
