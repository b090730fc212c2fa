"""From pydantic's errors to ours: JSON Pointers and sentences."""

from collections.abc import Collection, Iterable

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from backroom.model.errors import FieldError

__all__ = ["CamelModel", "field_errors", "pointer"]

#: Pydantic's words for what ours call otherwise.
_CODES = {"missing": "required", "extra_forbidden": "unknown-field"}
_MESSAGES = {"missing": "is required", "extra_forbidden": "is not a known field"}


class CamelModel(BaseModel):
    """A frozen model in JSON's words: camelCase, and a field that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


def pointer(parts: Iterable[str | int]) -> str:
    """The JSON Pointer (RFC 6901) to a place given by keys and indexes."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def field_errors(error: ValidationError, prefix: str = "", *, branches: Collection[str] = ()) -> list[FieldError]:
    """One `FieldError` a problem that pydantic found.

    ``prefix`` is the pointer of the validated value. ``branches`` are names of branches of unions, which pydantic puts
    into the place of an error and the reader's document does not have.
    """
    found: list[FieldError] = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        kind = detail["type"]
        place = [part for part in detail["loc"] if part not in branches]
        message = _MESSAGES.get(kind) or detail["msg"].removeprefix("Value error, ")
        found.append(FieldError(prefix + pointer(place), _CODES.get(kind, kind.replace("_", "-")), message))
    return found
