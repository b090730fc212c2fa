"""Webhooks: endpoints that are told of all jobs, the secrets that sign messages, and the log of deliveries."""

from typing import Annotated, Any, Final

from pydantic import Field

from backroom.model.job import format_time
from backroom.model.states import DeliveryState
from backroom.model.webhooks import WebhookEvents, WebhookUrl
from backroom.store.records import from_ms
from backroom.store.webhooks import OWN, SecretPair
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import Input, NoBody, NoQuery
from services.api.paging import NEXT_PAGE, next_page
from services.api.queries import PageQuery
from services.api.schemas import (
    DeliveryList,
    DeliveryView,
    NewWebhook,
    SecretView,
    WebhookList,
    WebhookView,
)
from services.api.visibility import check_unbound

__all__ = ["resource"]

resource = Resource(
    "Webhooks", "HTTP calls that tell others how jobs fare, signed as Standard Webhooks (standardwebhooks.com) asks."
)

_LOCATION: Final = {"Location": "The endpoint."}
_SECRET: Final = {200: Reply("The secrets that sign now.", SecretView)}

Description = Annotated[str, Field(strict=True, max_length=256)]


class DeliveriesQuery(PageQuery):
    """Which deliveries."""

    state: tuple[DeliveryState, ...] = Field(default=(), description="Repeat it for several states.")


class WebhookBody(Input):
    """An endpoint to be told of all jobs."""

    url: WebhookUrl = Field(description="http:// or https://, without a user name, a password or a fragment.")
    events: WebhookEvents = Field(description="What it is told. 'failed' is the final failure of a job alone.")
    description: Description | None = Field(default=None, description="What it is for, in your words.")


class WebhookChange(Input):
    """What is to be different; what is left out stays."""

    url: WebhookUrl | None = None
    events: WebhookEvents | None = None
    description: Description | None = None
    enabled: bool | None = Field(default=None, description="False: tell it nothing until it is enabled again.")


def _secret_view(pair: SecretPair) -> dict[str, Any]:
    return {"secret": pair.secret, "oldSecret": pair.old, "oldSecretUntil": format_time(from_ms(pair.old_until))}


@resource.operation(
    "GET",
    "/v1/webhooks",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("All endpoints, by creation; 100 at most.", WebhookList)},
)
def list_webhooks(call: Call[NoQuery, NoBody]) -> Answer:
    """List the endpoints of webhooks, without their secrets."""
    check_unbound(call.principal)
    return Answer(200, {"webhooks": [view.to_dict() for view in call.backend.store.webhooks.list()]})


@resource.operation(
    "POST",
    "/v1/webhooks",
    access=Access.ADMIN,
    query=NoQuery,
    body=WebhookBody,
    replies={201: Reply("The endpoint, with its secret, which is shown this once.", NewWebhook, headers=_LOCATION)},
    problems=(409,),
)
def create_webhook(call: Call[NoQuery, WebhookBody]) -> Answer:
    """Create an endpoint of webhooks.

    From now on it is told of every job that comes to one of the events, with POST requests. A private address is called
    only if the operator allows its network (`BACKROOM_WEBHOOK_ALLOWED_NETWORKS`); that is decided when it is called.
    """
    check_unbound(call.principal)
    body = call.body
    view, secret = call.backend.store.webhooks.create(url=body.url, events=body.events, description=body.description)
    return Answer(201, {**view.to_dict(), "secret": secret}, headers={"Location": f"/v1/webhooks/{view.id}"})


@resource.operation(
    "GET",
    "/v1/webhooks/secret",
    access=Access.ADMIN,
    query=NoQuery,
    body=NoBody,
    replies=_SECRET,
)
def read_webhook_secret(call: Call[NoQuery, NoBody]) -> Answer:
    """Read the secret of the stack: what the jobs' own webhooks are signed with."""
    check_unbound(call.principal)
    return Answer(200, _secret_view(call.backend.store.webhooks.secrets(OWN)))


@resource.operation(
    "POST",
    "/v1/webhooks/secret/rotate",
    access=Access.ADMIN,
    query=NoQuery,
    body=NoBody,
    replies=_SECRET,
)
def rotate_stack_secret(call: Call[NoQuery, NoBody]) -> Answer:
    """Replace the secret of the stack; for 24 hours the old one signs as well."""
    check_unbound(call.principal)
    return Answer(200, _secret_view(call.backend.store.webhooks.rotate(OWN)))


@resource.operation(
    "GET",
    "/v1/webhooks/deliveries",
    access=Access.READ,
    query=DeliveriesQuery,
    body=NoBody,
    replies={200: Reply("A page of them, newest first.", DeliveryList, headers=NEXT_PAGE)},
)
def list_own_deliveries(call: Call[DeliveriesQuery, NoBody]) -> Answer:
    """List the deliveries of the jobs' own webhooks."""
    check_unbound(call.principal)
    return _deliveries(call, OWN, "/v1/webhooks/deliveries")


@resource.operation(
    "GET",
    "/v1/webhooks/deliveries/{deliveryId}",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("The delivery.", DeliveryView)},
    problems=(404,),
)
def read_delivery(call: Call[NoQuery, NoBody]) -> Answer:
    """Read a delivery, with its tries."""
    check_unbound(call.principal)
    return Answer(200, call.backend.store.deliveries.get(call.path["deliveryId"]).to_dict())


@resource.operation(
    "POST",
    "/v1/webhooks/deliveries/{deliveryId}/redeliver",
    access=Access.ADMIN,
    query=NoQuery,
    body=NoBody,
    replies={202: Reply("It is under way.", DeliveryView, headers={"Location": "The delivery."})},
    problems=(404, 409),
)
def redeliver(call: Call[NoQuery, NoBody]) -> Answer:
    """Deliver again, with the same body and the same `webhook-id`, to where the endpoint is now.

    It has all its tries anew; one that is pending is tried at once. 409 if its endpoint is disabled.
    """
    check_unbound(call.principal)
    view = call.backend.store.deliveries.redeliver(call.path["deliveryId"])
    return Answer(202, view.to_dict(), headers={"Location": f"/v1/webhooks/deliveries/{view.id}"})


@resource.operation(
    "GET",
    "/v1/webhooks/{webhookId}",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("The endpoint.", WebhookView)},
    problems=(404,),
)
def read_webhook(call: Call[NoQuery, NoBody]) -> Answer:
    """Read an endpoint of webhooks, without its secret."""
    check_unbound(call.principal)
    return Answer(200, call.backend.store.webhooks.get(call.path["webhookId"]).to_dict())


@resource.operation(
    "PATCH",
    "/v1/webhooks/{webhookId}",
    access=Access.ADMIN,
    query=NoQuery,
    body=WebhookChange,
    replies={200: Reply("The endpoint as it is now.", WebhookView)},
    problems=(404,),
)
def change_webhook(call: Call[NoQuery, WebhookChange]) -> Answer:
    """Change an endpoint of webhooks, disable it, or enable it again.

    Deliveries that are pending go to the new address. What happened while it was disabled is not told later, and
    deliveries that were pending then have failed: redeliver them. An endpoint that is enabled again, or that has moved,
    is not taken to be failing any more.
    """
    check_unbound(call.principal)
    body = call.body
    view = call.backend.store.webhooks.update(
        call.path["webhookId"],
        url=body.url,
        events=body.events,
        description=body.description,
        enabled=body.enabled,
    )
    return Answer(200, view.to_dict())


@resource.operation(
    "DELETE",
    "/v1/webhooks/{webhookId}",
    access=Access.ADMIN,
    query=NoQuery,
    body=NoBody,
    replies={204: Reply("It is gone, and with it its deliveries: those that are pending are not made.")},
    problems=(404,),
)
def remove_webhook(call: Call[NoQuery, NoBody]) -> Answer:
    """Remove an endpoint of webhooks."""
    check_unbound(call.principal)
    call.backend.store.webhooks.remove(call.path["webhookId"])
    return Answer(204)


@resource.operation(
    "POST",
    "/v1/webhooks/{webhookId}/rotate-secret",
    access=Access.ADMIN,
    query=NoQuery,
    body=NoBody,
    replies=_SECRET,
    problems=(404,),
)
def rotate_webhook_secret(call: Call[NoQuery, NoBody]) -> Answer:
    """Replace the secret of an endpoint; for 24 hours the old one signs as well.

    The new secret is shown this once.
    """
    check_unbound(call.principal)
    return Answer(200, _secret_view(call.backend.store.webhooks.rotate(_own_id(call))))


def _own_id(call: Call[Any, Any]) -> str:
    """The id of an endpoint that there is. Raises `NotFound`, for the name of the jobs' own webhooks too."""
    return call.backend.store.webhooks.get(call.path["webhookId"]).id


@resource.operation(
    "GET",
    "/v1/webhooks/{webhookId}/deliveries",
    access=Access.READ,
    query=DeliveriesQuery,
    body=NoBody,
    replies={200: Reply("A page of them, newest first.", DeliveryList, headers=NEXT_PAGE)},
    problems=(404,),
)
def list_deliveries(call: Call[DeliveriesQuery, NoBody]) -> Answer:
    """List the deliveries of an endpoint.

    Pages are exact while others are added; with a state filter, one that comes to the state meanwhile may be missing.
    Those that have ended are kept for `BACKROOM_WEBHOOK_KEEP_SECONDS`, and the newest `BACKROOM_WEBHOOK_KEEP_COUNT`.
    """
    check_unbound(call.principal)
    webhook = _own_id(call)
    return _deliveries(call, webhook, f"/v1/webhooks/{webhook}/deliveries")


def _deliveries(call: Call[DeliveriesQuery, NoBody], webhook: str, path: str) -> Answer:
    query = call.query
    page = call.backend.store.deliveries.page(webhook, states=query.state, limit=query.limit, cursor=query.cursor)
    found = {"deliveries": [view.to_dict() for view in page.deliveries], "next": page.next}
    return Answer(200, found, headers=next_page(path, query, page.next))
