"""How `RetryAfter` and `RateLimited` travel through Celery's tracer: as kinds of Celery's own `Retry`."""

from typing import Any

from celery.exceptions import Retry

__all__ = ["Deferral"]


class Deferral(Retry):
    """A try that is not counted; ``kind``: ``retry-after`` or ``rate-limited``, ``when``: seconds until the next."""

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | None = None,
        when: float = 0,
        kind: str = "retry-after",
        **kwargs: Any,
    ) -> None:
        self.kind = kind
        super().__init__(message, exc=exc, when=when, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.exc, self.when, self.kind)
