"""Web Push through a real push service, which verifies the sender, and to a browser, which reads the message."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from backroom import RetryAfter, Unrecoverable
from backroom.outbound import AddressRefused, CallFailed, NotCallable
from services.worker.jobs.send_push import SubscriptionGone, send_push
from services.worker.support.webpush import VapidKey
from tests.integration.jobs.servers import Answer, Authority, HttpServer, http_server
from tests.unit.jobs.browser import Browser, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = VapidKey.generate()


class PushService:
    """A push service with one browser behind it."""

    def __init__(self) -> None:
        self.browser = Browser()
        self.answer = Answer(201, headers={"Location": "/messages/1"})
        self.server: HttpServer

    def data(self, payload: object = "hello", **more: Any) -> dict[str, Any]:
        keys = {"p256dh": self.browser.p256dh, "auth": self.browser.auth}
        return {
            "subscription": {"endpoint": f"{self.server.url}/push/abc", "expirationTime": None, "keys": keys},
            "payload": payload,
            **more,
        }


@pytest.fixture
def service(loopback_allowed: None, configure: Callable[..., None], authority: Authority) -> Iterator[PushService]:
    configure(vapid_private_key=KEY.private, vapid_subject="mailto:ops@example.com")
    service = PushService()
    with http_server(lambda _: service.answer, tls=authority.context("127.0.0.1")) as service.server:
        yield service


def test_a_message_reaches_the_browser_and_the_service_knows_who_sent_it(service: PushService) -> None:
    result = send_push(service.data({"title": "Grüße", "n": [1]}, ttl=60, urgency="high", topic="news"))
    (request,) = service.server.requests
    assert (request.method, request.path) == ("POST", "/push/abc")
    assert json.loads(service.browser.read(request.body)) == {"title": "Grüße", "n": [1]}
    claims = verify(request.headers["Authorization"])
    assert claims["aud"] == service.server.url
    assert claims["sub"] == "mailto:ops@example.com"
    assert time.time() < claims["exp"] <= time.time() + 86_400
    assert request.headers["Authorization"].endswith(f"k={KEY.public}")
    assert request.headers["Content-Encoding"] == "aes128gcm"
    assert [request.headers[name] for name in ("TTL", "Urgency", "Topic")] == ["60", "high", "news"]
    assert result == {"status": 201, "service": service.server.url, "message": "/messages/1"}


def test_text_is_sent_as_it_is(service: PushService) -> None:
    send_push(service.data("häßlich"))
    (request,) = service.server.requests
    assert service.browser.read(request.body).decode() == "häßlich"
    assert "Topic" not in request.headers


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_is_gone_fails_at_once_and_says_so(service: PushService, status: int) -> None:
    service.answer = Answer(status)
    with pytest.raises(SubscriptionGone, match="subscription gone"):
        send_push(service.data())
    assert issubclass(SubscriptionGone, Unrecoverable)


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_asks_for_patience_is_obeyed(service: PushService, status: int) -> None:
    service.answer = Answer(status, headers={"Retry-After": "17"})
    with pytest.raises(RetryAfter) as ending:
        send_push(service.data())
    assert ending.value.seconds == 17


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_service_in_trouble_is_tried_again(service: PushService, status: int) -> None:
    service.answer = Answer(status)
    with pytest.raises(CallFailed):
        send_push(service.data())


@pytest.mark.parametrize("status", [301, 400, 401, 403, 413])
def test_a_refusal_fails_at_once(service: PushService, status: int) -> None:
    service.answer = Answer(status, headers={"Location": "https://elsewhere.example/"})
    with pytest.raises(Unrecoverable, match=str(status)):
        send_push(service.data())
    assert len(service.server.requests) == 1


def test_a_message_that_is_too_long_is_not_sent(service: PushService) -> None:
    with pytest.raises(Unrecoverable, match="3993"):
        send_push(service.data("x" * 4000))
    assert service.server.requests == []


def test_without_a_key_nothing_is_sent(
    service: PushService, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKROOM_VAPID_PRIVATE_KEY")
    configure()
    with pytest.raises(Unrecoverable, match="BACKROOM_VAPID_PRIVATE_KEY"):
        send_push(service.data())


def test_a_key_that_is_none_says_so_and_does_not_show(service: PushService, configure: Callable[..., None]) -> None:
    configure(vapid_private_key="not-a-key")
    with pytest.raises(Unrecoverable, match="BACKROOM_VAPID_PRIVATE_KEY") as ending:
        send_push(service.data())
    assert "not-a-key" not in str(ending.value)


def test_by_default_an_endpoint_in_a_private_network_is_refused(
    service: PushService, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]
) -> None:
    monkeypatch.delenv("BACKROOM_JOBS_ALLOWED_NETWORKS")
    configure()
    with pytest.raises(AddressRefused):
        send_push(service.data())
    assert service.server.requests == []


def test_an_endpoint_that_cannot_be_called_is_refused(service: PushService) -> None:
    data = service.data()
    data["subscription"]["endpoint"] = "https://127.0.0.1:99999/x"
    with pytest.raises(NotCallable):
        send_push(data)
