"""Calling others over HTTP, from inside a private network, on behalf of whoever says what is to be called."""

from backroom.outbound.client import (
    CallFailed,
    NotCallable,
    Outbound,
    Response,
    ResponseTooLarge,
    check_status,
    origin,
    retry_after,
)
from backroom.outbound.network import AddressRefused, NetworkPolicy

__all__ = [
    "AddressRefused",
    "CallFailed",
    "NetworkPolicy",
    "NotCallable",
    "Outbound",
    "Response",
    "ResponseTooLarge",
    "check_status",
    "origin",
    "retry_after",
]
