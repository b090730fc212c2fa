"""Results of jobs as JSON text, and back."""

import base64
import json
from typing import Any

from celery.result import ResultBase
from kombu.exceptions import EncodeError
from kombu.serialization import dumps, loads
from kombu.utils.json import dumps as celery_dumps
from kombu.utils.json import loads as celery_loads

from backroom.settings import get_settings

__all__ = ["InvalidResult", "decode_result", "encode_result"]

#: The key of a result that Celery's ``result_serializer`` wrote in a form of its own.
_ENCODED = "__encoded__"


class InvalidResult(EncodeError):
    """A job returned what cannot be kept: no JSON, or too large."""


def encode_result(result: Any, *, native: bool, serializer: str = "json") -> str:
    """The JSON text of a job's result. Raises `InvalidResult`.

    ``native``: the job came through Celery, so that dates and the like get Celery's marks, and another ``serializer``
    than JSON is used where one is configured.
    """
    if isinstance(result, ResultBase):
        result = result.as_tuple()
    try:
        if native and serializer != "json":
            content_type, encoding, body = dumps(result, serializer=serializer)
            raw = body if isinstance(body, bytes) else body.encode()
            result = {_ENCODED: {"type": content_type, "encoding": encoding, "body": base64.b64encode(raw).decode()}}
        text: str
        if native:
            text = celery_dumps(result, separators=(",", ":"))
        else:
            text = json.dumps(result, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (EncodeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidResult(
            f"the result is not JSON ({error}): return dicts, lists, texts, numbers, true, false or None"
        ) from None
    limit = get_settings().max_result_bytes
    if size > limit:
        raise InvalidResult(
            f"the result has {size} bytes, the limit is {limit} (BACKROOM_MAX_RESULT_BYTES): "
            "store it elsewhere and return where"
        )
    return text


def decode_result(text: str, accept: frozenset[str]) -> Any:
    """The result behind its JSON text. ``accept``: content types to decode; others raise ``ContentDisallowed``."""
    result = celery_loads(text)
    if isinstance(result, dict) and result.keys() == {_ENCODED}:
        encoded = result[_ENCODED]
        return loads(base64.b64decode(encoded["body"]), encoded["type"], encoded["encoding"], accept=accept)
    return result
