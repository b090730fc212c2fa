"""From pydantic's errors to ours: JSON Pointers and sentences."""

from collections.abc import Collection, Iterable

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from backroom.model.errors import FieldError

__all__ = ["CamelModel", "field_errors", "pointer"]

#: Pydantic's words for what ours call otherwise.
_CODES = {
    "missing": "required",
    "extra_forbidden": "unknown-field",
    "model_type": "invalid-type",
    "dict_type": "invalid-type",
}
#: Sentences in JSON's words, where pydantic's are Python's, and may even name our classes.
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have {max_length} entries at most",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have {max_length} characters at most",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
}


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
    for detail in error.errors(include_url=False, include_input=False):
        kind = detail["type"]
        place = [part for part in detail["loc"] if part not in branches]
        ours = _MESSAGES.get(kind)
        message = (
            detail["msg"].removeprefix("Value error, ") if ours is None else ours.format_map(detail.get("ctx", {}))
        )
        found.append(FieldError(prefix + pointer(place), _CODES.get(kind, kind.replace("_", "-")), message))
    return found
