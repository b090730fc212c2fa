"""How Celery plugs into the job store."""

from backroom.engine import plug

__all__ = ["plug"]
