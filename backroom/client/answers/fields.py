"""Reading the fields of JSON objects."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = ["Raw", "time_of"]

Raw = Mapping[str, Any]
"""A JSON object as it came."""


def time_of(value: str | None) -> datetime | None:
    """An RFC 3339 time, aware; None for none."""
    return None if value is None else datetime.fromisoformat(value)
