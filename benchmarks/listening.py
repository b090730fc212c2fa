"""A client that holds many event streams open in one process, so that `benchmarks.streams` can count what arrives.

    python -m benchmarks.listening PORT EVENT < paths

It opens a stream for each path on its standard input, up to an empty line, says ``open``, and answers each further line
with a line of JSON: how many events of the type each stream has heard, how many were resets, how long events took since
the line before, and the processor time it has used.
"""

import json
import os
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

__all__: list[str] = []

RECEIVED_AT_ONCE = 1 << 18
START_SECONDS = 30
#: Longer than any of the words that are looked for: what may be cut in two by a read.
TAIL = 64


@dataclass(slots=True)
class Stream:
    """One stream: what it has heard."""

    connection: socket.socket
    wanted: bytes
    heard: int = 0
    resets: int = 0
    ended: bool = False
    _tail: bytes = field(default=b"")

    def take(self, delays: list[float]) -> None:
        """Count what has come; notes how long the oldest event of it took, by the time in its id, in ms."""
        try:
            found = self.connection.recv(RECEIVED_AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionError:
            found = b""
        if not found:
            self.ended = True
            return
        now = time.time() * 1000
        data = self._tail + found
        # Whole lines, so that none is counted twice; what is left of the last one comes with the next.
        end = data.rfind(b"\n") + 1
        self._tail, data = data[end:], data[:end]
        self.heard += data.count(self.wanted)
        self.resets += data.count(b"event: reset\n")
        at = data.find(self.wanted)
        place = data.find(b"id: ", at) if at >= 0 else -1
        if place >= 0:
            delays.append(now - int(data[place + 4 : data.index(b"-", place)]))


def connect(port: int, path: str, wanted: bytes) -> Stream:
    """Open a stream, and read until it has begun."""
    connection = socket.create_connection(("127.0.0.1", port), START_SECONDS)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = b""
    while b"retry: " not in head:
        found = connection.recv(4096)
        if not found:
            sys.exit(f"no stream: {head!r}")
        head += found
    connection.settimeout(0)
    stream = Stream(connection, wanted)
    stream.heard = head.count(wanted)
    return stream


def percentiles(values: list[float]) -> list[float]:
    """p50, p99 and the largest."""
    ordered = sorted(values) or [0.0]
    return [ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99, 1)]


def report(streams: list[Stream], delays: list[float]) -> dict[str, Any]:
    """What is answered to a line."""
    return {
        "heard": [stream.heard for stream in streams],
        "resets": sum(stream.resets for stream in streams),
        "ended": sum(stream.ended for stream in streams),
        "delays": percentiles(delays),
        "processor": sum(os.times()[:2]),
    }


def main() -> None:
    """Listen until standard input ends."""
    port, wanted = int(sys.argv[1]), f"event: {sys.argv[2]}\n".encode()
    paths = list(iter(lambda: sys.stdin.readline().strip(), ""))
    streams = [connect(port, path, wanted) for path in paths]
    print("open", flush=True)
    delays: list[float] = []
    os.set_blocking(sys.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        for stream in streams:
            selector.register(stream.connection, selectors.EVENT_READ, stream)
        while True:
            for key, _ in selector.select():
                stream = key.data
                if stream is None:
                    if not os.read(sys.stdin.fileno(), 4096):
                        return
                    print(json.dumps(report(streams, delays)), flush=True)
                    delays.clear()
                    continue
                stream.take(delays)
                if stream.ended:
                    selector.unregister(stream.connection)


if __name__ == "__main__":
    main()
