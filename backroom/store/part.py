"""What every part of the store is made of."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from backroom.store.connection import KeptConnections, store_errors
from backroom.store.keys import Keys
from backroom.store.records import ms_of_clock
from backroom.store.scripts import ScriptRunner

__all__ = ["Part"]


class Part:
    """A part of the store: a connection, the keys and the scripts."""

    def __init__(self, redis: Redis, keys: Keys, scripts: ScriptRunner) -> None:
        #: Any: the library's types cover text and bytes, blocking and asynchronous clients, all at once.
        self._redis: Any = redis
        self._keys, self._scripts = keys, scripts

    def _now_ms(self) -> int:
        """The time by the clock of the store, in ms since 1970."""
        with store_errors():
            return ms_of_clock(self._redis.time())

    def _run(self, script: str, *arguments: Any, redis: Redis | KeptConnections | None = None) -> Any:
        """The answer of a script, on this connection or another one."""
        with store_errors():
            return self._scripts.run(redis or self._redis, script, *arguments)

    def _run_each(self, script: str, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers of a script to several calls, in one round trip; one that failed is answered with its error."""
        with store_errors():
            answers = self._scripts.run_each(self._redis, script, calls)
        for answer in answers:
            if isinstance(answer, Exception):
                with suppress(ResponseError), store_errors():  # the store was away or full: that concerns all
                    raise answer
        return answers
