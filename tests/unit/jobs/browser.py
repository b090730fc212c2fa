"""The other ends of Web Push: a browser that reads a message, and what a push service checks."""

from __future__ import annotations

import json
import os

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.worker.support.webpush import from_base64url, to_base64url

__all__ = ["Browser", "verify"]


class Browser:
    """The other end: has the keys of a subscription and reads what was encrypted for it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = os.urandom(16)
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.p256dh, self.auth = to_base64url(point), to_base64url(self._auth)

    def read(self, body: bytes) -> bytes:
        message: bytes = http_ece.decrypt(body, private_key=self._key, auth_secret=self._auth, version="aes128gcm")
        return message


def verify(header: str) -> dict[str, object]:
    """What a push service does with the header: check the signature, then read the claims."""
    assert header.startswith("vapid ")
    fields = dict(field.split("=", 1) for field in header.removeprefix("vapid ").split(", "))
    head, claims, signature = fields["t"].split(".")
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(fields["k"]))
    raw = from_base64url(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    point.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(SHA256()))
    assert json.loads(from_base64url(head)) == {"typ": "JWT", "alg": "ES256"}
    decoded: dict[str, object] = json.loads(from_base64url(claims))
    return decoded
