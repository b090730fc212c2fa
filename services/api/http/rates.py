"""Rate limits of requests, a key at a time; off unless the operator sets them.

Told with the fields of draft-ietf-httpapi-ratelimit-headers: ``RateLimit-Policy`` says what is allowed, ``RateLimit``
what is left of it. Submissions have a budget of their own, so that a dashboard that reads too much stops no job from
coming in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from werkzeug.wrappers import Request

from backroom.model.errors import StoreUnavailable
from backroom.store import Store
from services.api.http.access import Access, Principal
from services.api.http.problems import Problem
from services.api.settings import ApiSettings

__all__ = ["RateLimits", "Standing"]

SUBMISSIONS, REQUESTS = "submissions", "requests"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands with its budget."""

    policy: str
    quota: int
    window_seconds: int
    #: Requests that are left in this window; negative: one was too many.
    left: int
    #: Seconds until the window ends, rounded up.
    reset_seconds: int

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields that tell the caller."""
        return {
            "RateLimit-Policy": f'"{self.policy}";q={self.quota};w={self.window_seconds}',
            "RateLimit": f'"{self.policy}";r={max(0, self.left)};t={self.reset_seconds}',
        }

    def check(self) -> None:
        """Raise `Problem` (429) for a request that was too many."""
        if self.left < 0:
            detail = f"{self.quota} {self.policy} in {self.window_seconds} s are allowed: wait {self.reset_seconds} s."
            raise Problem("too-many-requests", detail, headers={"Retry-After": str(self.reset_seconds)})


class RateLimits:
    """Counts requests in the store, so that all processes of the API count together."""

    def __init__(self, store: Store, settings: ApiSettings) -> None:
        self._store = store
        self._quotas: Final = {SUBMISSIONS: settings.rate_limit_submissions, REQUESTS: settings.rate_limit_requests}
        self._window_seconds = settings.rate_limit_seconds

    def count(self, request: Request, principal: Principal, access: Access) -> Standing | None:
        """Count the request, by its address where nobody has a key; None if nothing limits it.

        While the store is away nothing is limited: most requests fail anyhow.
        """
        policy = SUBMISSIONS if access is Access.SUBMIT else REQUESTS
        quota = self._quotas[policy]
        if quota == 0 or access is Access.PUBLIC:
            return None
        caller = f"address {request.remote_addr}" if principal.is_everybody else f"key {principal.scope}"
        try:
            spent = self._store.budgets.spend(policy, caller, window_seconds=self._window_seconds)
        except StoreUnavailable:
            return None
        left = quota - spent.requests
        return Standing(policy, quota, self._window_seconds, left, max(1, -(-spent.left_ms // 1000)))
