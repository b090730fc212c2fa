"""A receiver of webhooks as others write it: a real HTTP server that verifies signatures with the public library."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from standardwebhooks import Webhook

from tests.integration.engine.stage import eventually
from tests.integration.jobs.servers import Answer, HttpServer, Request, http_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Receiver", "receiver"]


class Receiver:
    """What it was sent, and what it answers: the next of ``answers`` (asked for, if it is a function), then 204."""

    def __init__(self, answers: list[Answer | Callable[[], Answer]]) -> None:
        self.answers = answers
        self.server: HttpServer

    def answer(self, _: Request) -> Answer:
        given = self.answers.pop(0) if self.answers else Answer(204)
        return given if isinstance(given, Answer) else given()

    @property
    def url(self) -> str:
        return f"{self.server.url}/hooks"

    @property
    def got(self) -> list[Request]:
        return list(self.server.requests)

    def after(self, number: int) -> list[Request]:
        """All requests, once there are so many."""
        return eventually(lambda: self.got, until=lambda got: len(got) >= number)

    def messages(self, *secrets: str, number: int = 1) -> list[dict[str, Any]]:
        """What it was told, once it was told so often, each verified with one of the secrets at least."""
        return [read(request, *secrets) for request in self.after(number)]


def read(request: Request, *secrets: str) -> dict[str, Any]:
    """The message; each of the secrets must verify it."""
    for secret in secrets:
        Webhook(secret).verify(request.body, request.headers)
    message: dict[str, Any] = json.loads(request.body)
    return message


@contextmanager
def receiver(*answers: Answer | Callable[[], Answer], port: int = 0, address: str = "127.0.0.1") -> Iterator[Receiver]:
    """A running receiver."""
    running = Receiver(list(answers))
    with http_server(running.answer, port=port, address=address) as server:
        running.server = server
        yield running
