"""Job types: what workers offer, and checking data against it."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jsonschema_rs

from backroom.model.errors import FieldError, InvalidInput
from backroom.model.validation import pointer

__all__ = ["JobType", "check_data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType:
    """A kind of job, published by the workers that can do it."""

    name: str
    #: The queue its jobs go to unless the caller names one.
    queue: str
    #: The docstring of the function.
    description: str = ""
    #: JSON Schema (2020-12) of the data; empty accepts anything.
    schema: dict[str, Any] = field(default_factory=dict)
    #: `JobOptions` in JSON's words.
    defaults: dict[str, Any] = field(default_factory=dict)
    #: How many running workers offer it.
    workers: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The job type in JSON's words."""
        return {
            "name": self.name,
            "queue": self.queue,
            "description": self.description,
            "schema": self.schema,
            "defaults": self.defaults,
            "workers": self.workers,
        }


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:  # the library's class has no public name to annotate with
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def check_data(schema: str, data: object, prefix: str = "/data") -> None:
    """Check ``data`` against a JSON Schema given as text. Raises `InvalidInput` with a pointer for each thing wrong."""
    if not schema or schema == "{}":
        return
    validator = _validator(schema)
    if validator.is_valid(data):
        return
    errors = []
    for error in validator.iter_errors(data):
        keyword = str(error.schema_path[-1]) if error.schema_path else "invalid"
        # A missing field is reported at its parent and an unknown one too: point to the field itself.
        missing = getattr(error.kind, "property", None) if keyword == "required" else None
        fields = [missing] if isinstance(missing, str) else getattr(error.kind, "unexpected", None) or [None]
        for name in fields:
            place = [*error.instance_path, name] if name is not None else error.instance_path
            errors.append(FieldError(prefix + pointer(place), keyword, error.message))
    raise InvalidInput(errors)
