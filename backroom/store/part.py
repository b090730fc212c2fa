"""What every part of the store is made of."""

from typing import Any

from redis import Redis

from backroom.store.connection import store_errors
from backroom.store.keys import Keys
from backroom.store.scripts import ScriptRunner

__all__ = ["Part"]


class Part:
    """A part of the store: a connection, the keys and the scripts."""

    def __init__(self, redis: Redis, keys: Keys, scripts: ScriptRunner) -> None:
        #: Any: the library's types cover text and bytes, blocking and asynchronous clients, all at once.
        self._redis: Any = redis
        self._keys, self._scripts = keys, scripts

    def _run(self, script: str, *arguments: Any, redis: Redis | None = None) -> Any:
        """The answer of a script, on this connection or another one."""
        with store_errors():
            return self._scripts.run(redis or self._redis, script, *arguments)
