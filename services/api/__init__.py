"""The HTTP service: takes jobs in, answers for them, and lets operators act. gunicorn runs it (`gunicorn.conf.py`)."""

from services.api.app import create_app

__all__ = ["create_app"]
