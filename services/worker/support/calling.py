"""The HTTP client of the jobs, as the operator has set it up."""

from backroom.outbound import NetworkPolicy, Outbound
from services.worker.support.settings import JobSettings

__all__ = ["outbound"]


def outbound(settings: JobSettings) -> Outbound:
    """A client for calls to what a job's data names: a context manager."""
    return Outbound(
        policy=NetworkPolicy(settings.jobs_allowed_networks),
        timeout=settings.jobs_timeout_seconds,
        max_bytes=settings.jobs_max_response_bytes,
        ca_file=settings.jobs_ca_file,
    )
