"""Exceptions that a job raises to say how it wants to end."""

__all__ = ["RateLimited", "RetryAfter", "Unrecoverable"]


class Unrecoverable(Exception):
    """The job fails at once, whatever tries it has left."""


class _ComeBack(Exception):
    def __init__(self, seconds: float, message: str = "") -> None:
        if not 0 <= seconds <= 366 * 86_400:
            raise ValueError(f"seconds must be between 0 and 31622400 (366 days), not {seconds!r}")
        self.seconds, self.message = float(seconds), message
        super().__init__(seconds, message)

    def __str__(self) -> str:
        return self.message or f"again in {self.seconds:g} s"


class RetryAfter(_ComeBack):
    """The job runs again after ``seconds``; this try is not counted (at most 100 such tries in a row)."""


class RateLimited(_ComeBack):
    """The whole queue pauses for ``seconds`` and the job goes back to its front; this try is not counted."""
