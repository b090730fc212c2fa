"""Web Push: encryption of a message (RFC 8291 over RFC 8188) and the sender's signature, VAPID (RFC 8292).

Both are a few calls to `cryptography`, which signs and encrypts; this module only lays out the bytes that the RFCs ask
for. (The package pywebpush does the same, and brings an asynchronous HTTP stack and a client of its own that would have
to be kept away from private addresses as well.)

``python -m services.worker.support.webpush`` prints a new pair of keys.
"""

import base64
import binascii
import json
import os
import struct
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["MAX_MESSAGE_BYTES", "InvalidKey", "VapidKey", "encrypt", "from_base64url", "to_base64url"]

#: A push service has to take bodies of 4096 bytes (RFC 8030, 7.2): 86 are the header, 17 padding and tag.
MAX_MESSAGE_BYTES = 3993
_RECORD_BYTES = 4096
_KEY_BYTES = 32
_POINT_BYTES = 65
_SECRET_BYTES = 16
#: A signature may be valid for a day (RFC 8292, 2); half of it leaves room for clocks that differ.
_VALID_SECONDS = 12 * 3600


class InvalidKey(ValueError):
    """A key is not what the RFC says it has to be."""


def to_base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The bytes of base64url text, with or without padding. Raises `InvalidKey`."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidKey(f"is no base64url: {error}") from None


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _derive(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def encrypt(
    message: bytes,
    *,
    p256dh: str,
    auth: str,
    sender: ec.EllipticCurvePrivateKey | None = None,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """``message`` as a body with ``Content-Encoding: aes128gcm``, for the browser whose subscription has these keys.

    ``p256dh`` and ``auth`` are the subscription's, in base64url. ``sender`` is a key for this one message, made anew
    unless given. Raises `InvalidKey` for keys that are none, `ValueError` above `MAX_MESSAGE_BYTES`.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError(f"the message has {len(message)} bytes; the limit is {MAX_MESSAGE_BYTES}")
    secret, point = from_base64url(auth), from_base64url(p256dh)
    if len(secret) != _SECRET_BYTES:
        raise InvalidKey(f"auth has {len(secret)} bytes instead of {_SECRET_BYTES}")
    if len(point) != _POINT_BYTES:
        raise InvalidKey(f"p256dh has {len(point)} bytes instead of {_POINT_BYTES}")
    try:
        receiver = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise InvalidKey("p256dh is no point of the curve P-256") from None
    sender = sender or ec.generate_private_key(ec.SECP256R1())
    own_point = _point(sender.public_key())
    # RFC 8291, 3.4.
    shared = sender.exchange(ec.ECDH(), receiver)
    keying = _derive(shared, salt=secret, info=b"WebPush: info\0" + point + own_point, length=32)
    salt = random(16)
    key = _derive(keying, salt=salt, info=b"Content-Encoding: aes128gcm\0", length=16)
    nonce = _derive(keying, salt=salt, info=b"Content-Encoding: nonce\0", length=12)
    # RFC 8188, 2: one record, whose last octet before the tag says that it is the last.
    header = salt + struct.pack("!LB", _RECORD_BYTES, len(own_point)) + own_point
    return header + AESGCM(key).encrypt(nonce, message + b"\x02", None)


class VapidKey:
    """The key by which push services know this stack."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> "VapidKey":
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_text(cls, text: str) -> "VapidKey":
        """The private key from 32 bytes in base64url. Raises `InvalidKey`."""
        raw = from_base64url(text)
        if len(raw) != _KEY_BYTES:
            raise InvalidKey(f"has {len(raw)} bytes instead of {_KEY_BYTES}")
        try:
            return cls(ec.derive_private_key(int.from_bytes(raw), ec.SECP256R1()))
        except ValueError:
            raise InvalidKey("is no key of the curve P-256") from None

    @property
    def private(self) -> str:
        """The private key as `from_text` takes it."""
        return to_base64url(self._key.private_numbers().private_value.to_bytes(_KEY_BYTES))

    @property
    def public(self) -> str:
        """The public key as a browser takes it for ``applicationServerKey``."""
        return to_base64url(_point(self._key.public_key()))

    def authorization(self, *, audience: str, subject: str, now: float | None = None) -> str:
        """The ``Authorization`` header for the push service at the origin ``audience``; ``now``: Unix time, seconds."""
        expires = int(time.time() if now is None else now) + _VALID_SECONDS
        token = ".".join(
            to_base64url(json.dumps(part, separators=(",", ":")).encode())
            for part in ({"typ": "JWT", "alg": "ES256"}, {"aud": audience, "exp": expires, "sub": subject})
        )
        # JWS wants the two numbers of the signature side by side (RFC 7518, 3.4), not in DER.
        r, s = decode_dss_signature(self._key.sign(token.encode(), ec.ECDSA(SHA256())))
        signature = to_base64url(r.to_bytes(_KEY_BYTES) + s.to_bytes(_KEY_BYTES))
        return f"vapid t={token}.{signature}, k={self.public}"


def _print_new_key() -> None:
    key = VapidKey.generate()
    print(f"BACKROOM_VAPID_PRIVATE_KEY={key.private}")  # noqa: T201 - this program's output
    print(f"# applicationServerKey in the browser: {key.public}")  # noqa: T201 - this program's output


if __name__ == "__main__":
    _print_new_key()
