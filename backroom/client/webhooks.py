"""Webhooks: who is told how jobs fare, and how that went."""

from collections.abc import Iterator, Sequence
from itertools import islice

from backroom.client.answers.webhooks import Delivery, WebhookEndpoint, WebhookSecret
from backroom.client.channel import Channel, path_to
from backroom.client.pages import pages

__all__ = ["Webhooks"]


class Webhooks:
    """The webhooks of a stack: `Backroom.webhooks`. Changing them, and reading a secret, needs the role admin."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def get(self, endpoint_id: str) -> WebhookEndpoint:
        """One endpoint. Raises `NotFound`."""
        return self._channel.call("GET", path_to("v1", "webhooks", endpoint_id)).read(WebhookEndpoint.from_json)

    def create(self, url: str, events: Sequence[str], *, description: str | None = None) -> WebhookEndpoint:
        """Make an endpoint that is told of all jobs: its ``secret`` is in this answer, and never again.

        ``events``: such as ``["completed", "failed"]``. Raises `InvalidInput`. Not sent again once it was begun: if the
        answer is lost, remove the endpoint and make another one.
        """
        body: dict[str, object] = {"url": url, "events": [*events]}
        if description is not None:
            body["description"] = description
        return self._channel.call("POST", "/v1/webhooks", body=body).read(WebhookEndpoint.from_json)

    def update(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> WebhookEndpoint:
        """Change an endpoint; what is None stays. Raises `NotFound`, `InvalidInput`."""
        body: dict[str, object] = {
            "url": url,
            "events": None if events is None else [*events],
            "description": description,
            "enabled": enabled,
        }
        body = {word: value for word, value in body.items() if value is not None}
        answer = self._channel.call("PATCH", path_to("v1", "webhooks", endpoint_id), body=body, safe=True)
        return answer.read(WebhookEndpoint.from_json)

    def remove(self, endpoint_id: str) -> None:
        """Remove an endpoint with its deliveries: those that are pending are not made. Raises `NotFound`."""
        self._channel.call("DELETE", path_to("v1", "webhooks", endpoint_id)).confirm()

    def secret(self) -> WebhookSecret:
        """The secret of the stack: what the jobs' own webhooks are signed with."""
        return self._channel.call("GET", "/v1/webhooks/secret").read(WebhookSecret.from_json)

    def rotate_secret(self, endpoint_id: str | None = None) -> WebhookSecret:
        """Replace the secret of an endpoint, or (None) that of the stack; the old one signs as well for 24 hours.

        Raises `NotFound`. Not sent again once it was begun.
        """
        path = "/v1/webhooks/secret/rotate"
        if endpoint_id is not None:
            path = path_to("v1", "webhooks", endpoint_id, "rotate-secret")
        return self._channel.call("POST", path).read(WebhookSecret.from_json)

    def deliveries(
        self, endpoint_id: str | None = None, *, state: str | Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Delivery]:
        """The deliveries of an endpoint, or (None) of the jobs' own webhooks, the newest first.

        They are fetched page by page as they are asked for. ``state``: only those that are ``pending``, ``delivered``
        or ``failed``; several mean any of them. ``limit``: at most so many. Raises `NotFound`, `InvalidInput`.
        """
        path = "/v1/webhooks/deliveries"
        if endpoint_id is not None:
            path = path_to("v1", "webhooks", endpoint_id, "deliveries")
        query = {"state": [state] if isinstance(state, str) else [*state]}
        return islice(pages(self._channel, path, "deliveries", Delivery.from_json, query), limit)

    def delivery(self, delivery_id: str) -> Delivery:
        """One delivery. Raises `NotFound`."""
        return self._channel.call("GET", path_to("v1", "webhooks", "deliveries", delivery_id)).read(Delivery.from_json)

    def redeliver(self, delivery_id: str) -> Delivery:
        """Deliver again, under the same ``webhook-id``. Raises `NotFound`, `Conflict` if its endpoint is disabled."""
        path = path_to("v1", "webhooks", "deliveries", delivery_id, "redeliver")
        return self._channel.call("POST", path).read(Delivery.from_json)

    def list(self) -> list[WebhookEndpoint]:
        """All endpoints, by creation."""
        answer = self._channel.call("GET", "/v1/webhooks")
        return answer.read(lambda raw: [WebhookEndpoint.from_json(each) for each in raw["webhooks"]])
