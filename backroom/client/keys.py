"""API keys: who may come in."""

from collections.abc import Sequence
from datetime import datetime

from backroom.client.answers.access import ApiKey
from backroom.client.channel import Channel, path_to
from backroom.client.options import time_json
from backroom.client.pages import pages

__all__ = ["Keys"]


class Keys:
    """The API keys of a stack: `Backroom.keys`. Only a key with the role admin may use them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def list(self) -> list[ApiKey]:
        """All keys: those of the API's environment, then the others by creation."""
        return [*pages(self._channel, "/v1/keys", "keys", ApiKey.from_json)]

    def get(self, key_id: str) -> ApiKey:
        """What is known of a key. Raises `NotFound`."""
        return self._channel.call("GET", path_to("v1", "keys", key_id)).read(ApiKey.from_json)

    def create(
        self,
        name: str,
        roles: Sequence[str],
        *,
        queues: Sequence[str] | None = None,
        job_types: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> ApiKey:
        """Make a key: its ``key`` is in this answer, and never again.

        ``roles``: of ``submit``, ``read``, ``operate`` and ``admin``. ``queues`` and ``job_types`` are those that it is
        bound to; all if left out. The first key of a stack closes it, and must be an admin's that does not end. Raises
        `InvalidInput`, and `Conflict` for a name that another key has. Not sent again once it was begun: if the answer
        is lost, revoke the key and make another one.
        """
        body: dict[str, object] = {"name": name, "roles": [*roles]}
        if queues is not None:
            body["queues"] = [*queues]
        if job_types is not None:
            body["jobTypes"] = [*job_types]
        if expires_at is not None:
            body["expiresAt"] = time_json(expires_at)
        return self._channel.call("POST", "/v1/keys", body=body).read(ApiKey.from_json)

    def revoke(self, key_id: str) -> None:
        """Take a key out of use for ever. Raises `NotFound`, and `Conflict` for the last admin key."""
        self._channel.call("DELETE", path_to("v1", "keys", key_id)).confirm()
