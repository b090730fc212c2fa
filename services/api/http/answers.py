"""Answers: a status, headers, and a body that becomes JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson
from flask import Response

__all__ = ["JSON", "Answer", "RawJson", "to_json"]

JSON: Final = "application/json"


class RawJson(bytes):
    """JSON text in UTF-8 that is sent as it is, such as the stored result of a job."""


def to_json(value: object) -> bytes:
    """``value`` as compact UTF-8 JSON.

    orjson refuses integers beyond 64 bits and halves of surrogate pairs, which the standard library writes: a job's
    data must come back with the very numbers it was sent with.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answers. The body is a JSON value, `RawJson`, text or bytes of another type, or None."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON

    def response(self) -> Response:
        """The answer as Flask sends it. Nothing is cached unless the operation says so."""
        body: str | bytes | None
        if self.body is None and self.status in {204, 304}:
            body = None
        elif isinstance(self.body, RawJson) or not self.content_type.endswith("json"):
            assert isinstance(self.body, str | bytes)
            body = self.body
        else:
            body = to_json(self.body)
        headers = {"Cache-Control": "no-store", **self.headers}
        if body is None:
            response = Response(status=self.status, headers=headers)
            response.headers.pop("Content-Type", None)
            return response
        return Response(body, status=self.status, headers=headers, content_type=self.content_type)
