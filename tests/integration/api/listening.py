"""Listening to server-sent events, as a client does."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import requests

from tests.integration.api.service import Api, check_against_document

WAIT_SECONDS = 60


@dataclass(frozen=True)
class Told:
    """An event that has arrived."""

    type: str
    id: str
    data: dict[str, Any]


def parse(lines: Iterator[str]) -> Iterator[Told]:
    """The events in the lines of a stream."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Told(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}


class Listener:
    """Collects what a stream tells, in a thread."""

    def __init__(self, api: Api, path: str, *, after: str | None = None, **headers: str) -> None:
        if after is not None:
            headers["Last-Event-ID"] = after
        self.response = requests.get(f"{api.url}{path}", headers=headers, stream=True, timeout=(10, 60))
        check_against_document("GET", path, self.response)
        self.told: list[Told] = []
        self.lines: list[str] = []
        self.ended = False
        self._changed = threading.Condition()
        if self.response.status_code == 200:
            threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        assert self.response.status_code == 200, self.response.text
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more."""
        if not self.ended:
            self.response.raw.shutdown()  # its thread may be reading
        self.response.close()

    def _listen(self) -> None:
        try:
            for told in parse(self._lines()):
                with self._changed:
                    self.told.append(told)
                    self._changed.notify_all()
        except (requests.RequestException, AttributeError, ValueError):
            pass  # closed by the test
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _lines(self) -> Iterator[str]:
        for line in self.response.iter_lines(chunk_size=None, decode_unicode=True):
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
            yield line

    def until(self, look: Callable[[Self], object]) -> None:
        """Wait until ``look`` is true of this listener."""
        with self._changed:
            assert self._changed.wait_for(lambda: look(self), WAIT_SECONDS), (self.types, self.lines[-5:])

    def until_ended(self) -> None:
        """Wait until the stream has ended."""
        self.until(lambda each: each.ended)

    @property
    def types(self) -> list[str]:
        """The types of what was told."""
        return [told.type for told in self.told]

    def until_types(self, *types: str) -> None:
        """Wait until these have been told, and no others."""
        self.until(lambda each: len(each.told) >= len(types))
        assert self.types == list(types)
