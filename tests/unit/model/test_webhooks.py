"""Webhooks: what a job may ask for, and signatures that receivers of Standard Webhooks verify."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from backroom.model.errors import InvalidInput
from backroom.model.options import parse_options
from backroom.model.webhooks import MAX_URL_LENGTH, WEBHOOK_EVENTS, new_secret, signature


def errors(webhook: object) -> list[tuple[str, str]]:
    """What is wrong: pointers and codes."""
    with pytest.raises(InvalidInput) as refused:
        parse_options({"webhook": webhook})
    return [(error.pointer.removeprefix("/options/webhook"), error.code) for error in refused.value.errors]


def hook(**fields: Any) -> dict[str, Any]:
    return {"url": "https://shop.example/hooks", "events": ["completed"], **fields}


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example",
        "https://shop.example:8443/a/b?c=d&e=%20",
        "http://192.0.2.1/",
        "http://[2001:db8::1]:80/x",
        "HTTPS://Shop.Example/",
        "https://xn--bcher-kva.example/",
        "https://shop.example/" + "x" * (MAX_URL_LENGTH - 21),
    ],
)
def test_http_addresses_are_taken_as_they_are(url: str) -> None:
    webhook = parse_options({"webhook": hook(url=url)}).webhook

    assert webhook is not None
    assert webhook.url == url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example/",
        "shop.example/hooks",
        "//shop.example/",
        "https://",
        "https:///path",
        "javascript:alert(1)",
        "https://user:secret@shop.example/",
        "https://user@shop.example/",
        "https://shop.example/#there",
        "https://shop.example/#",
        "https://shop.example/a b",
        "https://shop.example/\n",
        "https://bücher.example/",
        "https://shop.example:port/",
        "https://shop.example:70000/",
        "https://[::1/",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    assert errors(hook(url=url)) == [("/url", "value-error")]


def test_an_address_is_of_bounded_length() -> None:
    assert errors(hook(url="https://shop.example/" + "x" * MAX_URL_LENGTH)) == [("/url", "string-too-long")]


def test_every_event_may_be_asked_for_and_each_counts_once() -> None:
    webhook = parse_options({"webhook": hook(events=[*WEBHOOK_EVENTS, "completed"])}).webhook

    assert webhook is not None
    assert webhook.events == WEBHOOK_EVENTS


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        ([], [("/events", "value-error")]),
        (["done"], [("/events/0", "literal-error")]),
        (["completed", "progress"], [("/events/1", "literal-error")]),
        ("completed", [("/events", "tuple-type")]),
        (None, [("/events", "tuple-type")]),
    ],
)
def test_events_are_a_list_of_those_there_are(events: object, wrong: list[tuple[str, str]]) -> None:
    assert errors(hook(events=events)) == wrong


@pytest.mark.parametrize(
    ("webhook", "wrong"),
    [
        ({}, {("/url", "required"), ("/events", "required")}),
        ({**hook(), "secret": "x"}, {("/secret", "unknown-field")}),
        ("https://shop.example/", {("", "invalid-type")}),
        ([], {("", "invalid-type")}),
    ],
)
def test_a_webhook_has_an_address_and_events_and_nothing_else(webhook: object, wrong: set[tuple[str, str]]) -> None:
    assert set(errors(webhook)) == wrong


def test_the_reference_vector_of_the_specification_is_signed_as_it_says() -> None:
    found = signature(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )

    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def signed(secrets: list[str], body: bytes, timestamp: int) -> dict[str, str]:
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secrets, message_id="msg_1", timestamp=timestamp, body=body),
    }


def test_receivers_verify_with_the_library_of_standard_webhooks() -> None:
    secret, body = new_secret(), '{"type":"job.completed","data":"häß"}'.encode()

    assert Webhook(secret).verify(body, signed([secret], body, int(time.time())))["type"] == "job.completed"


def test_while_a_secret_is_exchanged_receivers_verify_with_either() -> None:
    old, new, body = new_secret(), new_secret(), b"{}"
    headers = signed([new, old], body, int(time.time()))

    assert Webhook(old).verify(body, headers) == Webhook(new).verify(body, headers) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(body, headers)


def test_another_body_does_not_verify() -> None:
    secret = new_secret()

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(b'{"a":2}', signed([secret], b'{"a":1}', int(time.time())))


def test_secrets_are_random_and_as_long_as_the_specification_asks() -> None:
    one, other = new_secret(), new_secret()

    assert one != other
    assert one.startswith("whsec_")
    assert 24 <= len(base64.b64decode(one.removeprefix("whsec_"))) <= 64
