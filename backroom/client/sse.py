"""Server-sent events as bytes: the parser of the HTML standard (9.2.6), which takes them in pieces of any size."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Decoder", "Message"]

_BOM: Final = "\ufeff".encode()
MAX_LINE: Final = 4 * 1024 * 1024
"""A line of more bytes comes from something else."""


@dataclass(frozen=True, slots=True)
class Message:
    """One event as it was sent."""

    #: ``message`` where the server named none.
    type: str
    data: str
    #: The last id that was sent, with this event or before it; empty if there was none.
    id: str


class Decoder:
    """Turns the bytes of one response into messages; remembers what the server said about reconnecting."""

    def __init__(self, last_id: str = "") -> None:
        #: The id to resume behind: that of the newest complete event.
        self.last_id = last_id
        #: Seconds to wait before reconnecting, if the server said so.
        self.retry: float | None = None
        self._id = last_id
        self._type = ""
        self._data: list[str] = []

    def messages(self, chunks: Iterable[bytes]) -> Iterator[Message]:
        """The messages, each as soon as it is complete; one that is cut off by the end is no message."""
        for line in _lines(chunks):
            if line:
                self._field(line.decode("utf-8", "replace"))
            elif message := self._dispatch():
                yield message

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value) / 1000

    def _dispatch(self) -> Message | None:
        kind, data = self._type, self._data
        self._type, self._data = "", []
        self.last_id = self._id
        return Message(kind or "message", "\n".join(data), self.last_id) if data else None


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that end in LF, CR or CRLF, without their ends; nothing else ends one, unlike in `str.splitlines`.

    A CR ends its line at once: an LF that follows it in the next chunk is left out then. Raises `ValueError` for a line
    without end.
    """
    held, after_cr, first = bytearray(), False, True
    for chunk in chunks:
        held += chunk
        if first:
            if len(held) < len(_BOM) and _BOM.startswith(held):
                continue
            first = False
            if held.startswith(_BOM):
                del held[: len(_BOM)]
        start = 0
        while start < len(held):
            if after_cr and held[start] == ord("\n"):
                start += 1
            after_cr = False
            ends = [place for place in (held.find(b"\n", start), held.find(b"\r", start)) if place >= 0]
            if not ends:
                break
            end = min(ends)
            after_cr = held[end] == ord("\r")
            yield bytes(held[start:end])
            start = end + 1
        del held[:start]
        if len(held) > MAX_LINE:
            raise ValueError(f"a line of more than {MAX_LINE} bytes is no line of server-sent events")
