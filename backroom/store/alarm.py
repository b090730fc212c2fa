"""A wake-up key to sleep on, to the millisecond.

Redis ends a blocking call up to a tenth of a second late, so the sleeper keeps the time itself and leaves the call
pending.
"""

from typing import Any

from backroom.model.errors import StoreUnavailable
from backroom.store.connection import connect, store_errors

__all__ = ["Alarm"]


class Alarm:
    """Sleeps until the wake-up key is set or the time is over. One thread's."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        self._url, self._key, self._timeout = url, key, timeout
        #: Made on first use, for that connects: the store may be away until then. Any: the library leaves it untyped.
        self._client: Any = None
        self._pending = False

    def wait(self, seconds: float) -> bool:
        """Sleep for ``seconds`` at most; True when woken. Raises `StoreUnavailable`, and begins anew the next time."""
        try:
            with store_errors():
                return self._wait(seconds)
        except StoreUnavailable:
            self.reset()
            raise

    def _wait(self, seconds: float) -> bool:
        if self._client is None:
            self._client = connect(self._url, timeout=self._timeout, single=True)
        connection = self._client.connection
        if not self._pending:
            connection.connect()
            connection.send_command("BZPOPMIN", self._key, 0)
            self._pending = True
        if not connection.can_read(timeout=seconds):
            return False
        self._pending = False
        connection.read_response()
        return True

    def reset(self) -> None:
        """Begin anew on a new connection."""
        self._pending = False
        if self._client is not None:
            self._client.connection.disconnect()
