"""Answers: a status, headers, and a body that becomes JSON."""

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import orjson

__all__ = ["JSON", "Answer", "RawJson", "Stream", "to_json"]

JSON: Final = "application/json"
_STATUS_LINES: Final = {int(status): f"{status.value} {status.phrase}" for status in HTTPStatus}


class RawJson(bytes):
    """JSON text in UTF-8 that is sent as it is, such as the stored result of a job."""


class Stream(Iterator[bytes]):
    """A body that is made while it is sent; closed once, by whoever sends it."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds."""


def to_json(value: object, *, sort: bool = False) -> bytes:
    """``value`` as compact UTF-8 JSON, its keys in their order or, with ``sort``, in that of the alphabet.

    orjson refuses integers beyond 64 bits and halves of surrogate pairs, which the standard library writes: a job's
    data must come back with the very numbers it was sent with.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort else None)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), sort_keys=sort).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answers: the body is a JSON value, `RawJson`, text or bytes of another type, `Stream`, None."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON

    def payload(self) -> bytes | None:
        """The bytes of the body; None for an answer that has none."""
        if self.body is None and self.status in {204, 304}:
            return None
        if isinstance(self.body, RawJson) or not self.content_type.endswith("json"):
            assert isinstance(self.body, str | bytes)
            return self.body.encode() if isinstance(self.body, str) else self.body
        return to_json(self.body)

    def wsgi(
        self, extra: Mapping[str, str], *, is_head: bool = False
    ) -> tuple[str, list[tuple[str, str]], Iterable[bytes]]:
        """The status line, the headers and the body as a WSGI server sends them; ``extra`` headers come last.

        Nothing is cached unless the operation says so. A request for the head alone (``is_head``) gets the headers that
        the whole answer has, and a stream is closed before it begins.
        """
        headers = {"Cache-Control": "no-store", **self.headers}
        chunks: Iterable[bytes]
        if isinstance(self.body, Stream):
            headers["Content-Type"] = self.content_type
            chunks = self.body
            if is_head:
                self.body.close()
        elif (payload := self.payload()) is None:
            chunks = ()
        else:
            headers["Content-Type"], headers["Content-Length"] = self.content_type, str(len(payload))
            chunks = (payload,)
        return _STATUS_LINES[self.status], [*headers.items(), *extra.items()], () if is_head else chunks
