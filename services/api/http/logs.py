"""The shape of log lines, under the name by which `gunicorn.conf.py` asks for it."""

from backroom.logs import formatter

__all__ = ["formatter"]
