"""Events as they happen: a stream that takes up again where a connection ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Self

import httpx

from backroom.client.answers.stack import Event
from backroom.client.channel import unreachable
from backroom.client.errors import ServerError, TooManyRequests, UnexpectedAnswer
from backroom.client.sse import Decoder, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import TracebackType

    from backroom.client.channel import Channel, Query

__all__ = ["SILENCE_SECONDS", "EventStream"]

SILENCE_SECONDS: Final = 45.0
"""The server says something at least every 15 s; after three times that, the connection is dead."""
_NO_CONTENT: Final = 204
_EVENT_STREAM: Final = "text/event-stream"


class EventStream:
    """An iterator over events; made by `Backroom.events`. Close it, or use it as a context manager.

    When the connection ends it is opened again behind the last event. Events that the server has forgotten by then are
    lost: it says so with an event of the type ``reset``.
    """

    def __init__(
        self,
        channel: Channel,
        path: str,
        *,
        query: Query,
        last_event_id: str | None,
        outage: float,
        wanted: Callable[[Event], bool],
        is_last: Callable[[Event], bool],
    ) -> None:
        """Prepare a stream; nothing is sent before the first event is asked for.

        ``outage``: seconds for which the server may be away. Events that are not ``wanted`` are left out. The stream
        ends behind the event that ``is_last``, or when the server says that there are no more (204).
        """
        self._channel = channel
        self._path = path
        self._query = query
        self._outage = outage
        self._wanted, self._is_last = wanted, is_last
        #: The id of the newest event that was seen; None before the first.
        self.last_event_id = last_event_id
        #: What the server said about reconnecting, in seconds.
        self._retry: float | None = None
        self._heard = False
        self._events = self._read()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._events.close()

    def _read(self) -> Generator[Event]:
        """The events of one connection after the other."""
        policy = self._channel.policy
        failed, away_since, connected_once = 0, 0.0, False
        while True:
            self._heard = False
            problem: Exception | None = None
            asked = None
            try:
                if not (yield from self._connection()):
                    return
            except httpx.TransportError as error:
                problem = unreachable(self._channel.url, error, failed + 1)
            except (ServerError, TooManyRequests) as error:
                problem, asked = error, error.retry_after
            if self._heard or problem is None:
                failed, connected_once = 0, True
            if problem is not None:
                away_since = away_since if failed else policy.clock()
                failed += 1
                gives_up = policy.clock() - away_since >= self._outage if connected_once else failed > policy.retries
                if gives_up or (asked or 0) > (self._outage if connected_once else policy.longest_asked):
                    raise problem
            pause = policy.wait(max(failed, 1), asked)
            policy.sleep(pause if self._retry is None else max(pause, self._retry))

    def _connection(self) -> Generator[Event, None, bool]:
        """The events of one connection; whether there may be more to come in another one."""
        headers = {"Accept": _EVENT_STREAM, "Cache-Control": "no-store"}
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        with self._channel.stream(self._path, query=self._query, headers=headers, silence=SILENCE_SECONDS) as response:
            if response.status_code == _NO_CONTENT:
                return False
            if not response.headers.get("Content-Type", "").startswith(_EVENT_STREAM):
                raise UnexpectedAnswer(f"{response.url} did not answer with events: is it the address of an API?")
            for event in self._received(response):
                if self._wanted(event):
                    yield event
                if self._is_last(event):
                    return False
        return True

    def _received(self, response: httpx.Response) -> Iterator[Event]:
        decoder = Decoder(self.last_event_id or "")
        try:
            for message in decoder.messages(self._chunks(response)):
                self.last_event_id = message.id or None
                yield _event_of(message)
        finally:
            self._retry = decoder.retry

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        for chunk in response.iter_bytes():
            self._heard = True
            yield chunk


def _event_of(message: Message) -> Event:
    try:
        return Event.from_json(json.loads(message.data), id=message.id, type=message.type)
    except (AttributeError, TypeError, ValueError) as error:
        raise UnexpectedAnswer(f"An event is not one that this client knows: {message} ({error}).") from error
