"""Against the example of RFC 8291, an independent implementation, and the verification that a push service does."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from services.worker.support.webpush import (
    MAX_MESSAGE_BYTES,
    InvalidKey,
    VapidKey,
    encrypt,
    from_base64url,
    to_base64url,
)
from tests.unit.jobs.browser import Browser, verify

# RFC 8291, appendix A.
RFC_MESSAGE = b"When I grow up, I want to be a watermelon"
RFC_SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
RFC_P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
RFC_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
RFC_SALT = "DGv6ra1nlYgDCS1FRnbzlw"
RFC_BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
    "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
    "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def test_the_example_of_the_rfc_is_met_byte_by_byte() -> None:
    sender = ec.derive_private_key(int.from_bytes(from_base64url(RFC_SENDER)), ec.SECP256R1())
    body = encrypt(
        RFC_MESSAGE, p256dh=RFC_P256DH, auth=RFC_AUTH, sender=sender, random=lambda _: from_base64url(RFC_SALT)
    )
    assert to_base64url(body) == RFC_BODY


@pytest.mark.parametrize("message", [b"", b"x", "häßlich ✓".encode(), b"x" * MAX_MESSAGE_BYTES])
def test_a_browser_reads_what_was_encrypted_for_it(message: bytes) -> None:
    browser = Browser()
    body = encrypt(message, p256dh=browser.p256dh, auth=browser.auth)
    assert len(body) <= 4096
    assert browser.read(body) == message


def test_two_messages_never_look_alike() -> None:
    browser = Browser()
    assert encrypt(b"x", p256dh=browser.p256dh, auth=browser.auth) != encrypt(
        b"x", p256dh=browser.p256dh, auth=browser.auth
    )


def test_a_message_that_no_push_service_need_take_is_refused() -> None:
    browser = Browser()
    with pytest.raises(ValueError, match="3993"):
        encrypt(b"x" * (MAX_MESSAGE_BYTES + 1), p256dh=browser.p256dh, auth=browser.auth)


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [
        ("", RFC_AUTH),
        ("AAAA", RFC_AUTH),
        ("!!!!", RFC_AUTH),
        (to_base64url(b"\x04" + b"\x01" * 64), RFC_AUTH),  # a point that is not on the curve
        (to_base64url(b"\x00" * 65), RFC_AUTH),
        (RFC_P256DH, ""),
        (RFC_P256DH, to_base64url(b"short")),
        (RFC_P256DH, "ünïcödé"),
    ],
)
def test_keys_that_are_none_are_refused(p256dh: str, auth: str) -> None:
    with pytest.raises(InvalidKey):
        encrypt(b"x", p256dh=p256dh, auth=auth)


def test_keys_with_padding_are_taken_as_well() -> None:
    assert from_base64url(RFC_AUTH + "==") == from_base64url(RFC_AUTH)


def test_a_push_service_can_verify_who_sends() -> None:
    key = VapidKey.generate()
    header = key.authorization(audience="https://push.example", subject="mailto:ops@example.com", now=1_000_000.9)
    assert verify(header) == {
        "aud": "https://push.example",
        "exp": 1_000_000 + 12 * 3600,
        "sub": "mailto:ops@example.com",
    }
    assert header.endswith(f"k={key.public}")


def test_a_forged_claim_is_noticed() -> None:
    header = VapidKey.generate().authorization(audience="https://push.example", subject="mailto:a@b")
    head, claims, rest = header.split(".")
    forged = json.loads(from_base64url(claims)) | {"sub": "mailto:other@b"}
    with pytest.raises(InvalidSignature):
        verify(".".join([head, to_base64url(json.dumps(forged).encode()), rest]))


def test_a_key_survives_being_written_down() -> None:
    key = VapidKey.generate()
    again = VapidKey.from_text(key.private)
    assert (again.private, again.public) == (key.private, key.public)
    assert len(base64.urlsafe_b64decode(key.private + "=")) == 32


@pytest.mark.parametrize("text", ["", "x", "AAAA", to_base64url(b"\0" * 32), to_base64url(b"\xff" * 32), "é"])
def test_what_is_no_private_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKey):
        VapidKey.from_text(text)


def test_the_module_prints_a_new_pair() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "services.worker.support.webpush"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    setting, comment = made.stdout.splitlines()
    key = VapidKey.from_text(setting.removeprefix("BACKROOM_VAPID_PRIVATE_KEY="))
    assert comment.endswith(key.public)
