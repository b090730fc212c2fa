"""Idempotency keys: a request that is sent twice is carried out once, and answered the same both times.

A key is claimed before anything is done. The claim fixes the ids of what the request creates, and a submission under a
claim (`Submission.submit`) is carried out once however often it is tried: so a process that dies between its claim and
its answer leaves nothing half done and nothing twice.
"""

import base64
import hashlib
import json
import secrets
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from backroom.model.names import new_id
from backroom.store.part import Part

__all__ = ["TAKEN_FOR_DEAD_MS", "Idempotency", "KeptAnswer", "KeyClaim", "OtherRequest", "StillRunning"]

#: A request that was not answered for this long is taken for dead, and the next with its key takes over, in ms.
TAKEN_FOR_DEAD_MS = 10_000
#: Kept bodies above this many bytes are compressed.
_COMPRESSED_ABOVE = 1024


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """The right to carry out the request."""

    name: str
    token: str
    #: ms since 1970 and random text, both of the first claim.
    seed: str

    def new_id(self, place: int = 0) -> str:
        """The id of what the request creates in this place: the same in every try."""
        digits = hashlib.sha256(f"{self.seed}/{place}".encode()).hexdigest()
        milliseconds = int(self.seed.partition("-")[0])
        return new_id(milliseconds=milliseconds, digits=digits)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The request has been answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class StillRunning:
    """The request is being carried out elsewhere."""

    #: When it is taken for dead at the latest.
    left_ms: int


@dataclass(frozen=True, slots=True)
class OtherRequest:
    """The key was used for another request."""


class Idempotency(Part):
    """Claims keys and keeps answers."""

    def claim(
        self, scope: str, fingerprint: str, *, keep_seconds: int
    ) -> KeyClaim | KeptAnswer | StillRunning | OtherRequest:
        """Claim the key for a request.

        ``scope`` is the key with all that it is bound to; ``fingerprint`` tells requests apart. What becomes of the
        request is kept for ``keep_seconds`` from its first claim. Raises `StoreFull`, `StoreUnavailable`.
        """
        name, token = hashlib.sha256(scope.encode()).hexdigest(), secrets.token_hex(8)
        seed = f"{time.time_ns() // 1_000_000}-{secrets.token_hex(10)}"
        answer = self._run("claim_key", name, fingerprint, token, seed, TAKEN_FOR_DEAD_MS, keep_seconds)
        match answer[0]:
            case "mine":
                return KeyClaim(name, token, answer[1])
            case "done":
                return KeptAnswer(int(answer[1]), json.loads(answer[2]), _unpacked(answer[3]))
            case "running":
                return StillRunning(int(answer[1]))
        return OtherRequest()

    def keep(self, claim: KeyClaim, answer: KeptAnswer) -> None:
        """Keep the answer; it is given to all who come with the key."""
        headers = json.dumps(dict(answer.headers), separators=(",", ":"))
        self._run("keep_answer", claim.name, answer.status, headers, _packed(answer.body))

    def free(self, claim: KeyClaim, *, forget: bool) -> None:
        """Let the request be sent again at once.

        ``forget``: nothing has been done and nothing will be, so that another request may use the key as well.
        """
        self._run("free_key", claim.name, claim.token, "1" if forget else "0")


def _packed(body: bytes) -> str:
    """The body as text: as it is behind a ``=``, or compressed behind a ``z``."""
    if len(body) <= _COMPRESSED_ABOVE:
        return "=" + body.decode()
    return "z" + base64.b85encode(zlib.compress(body, 1)).decode()


def _unpacked(text: str) -> bytes:
    return text[1:].encode() if text[0] == "=" else zlib.decompress(base64.b85decode(text[1:]))
