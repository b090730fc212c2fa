"""What Schemathesis is not to try: addresses above the limit, refused with 414 before any operation is asked."""

from typing import Any
from urllib.parse import urlencode

import schemathesis

MOST = 6000


@schemathesis.hook
def filter_query(_context: Any, query: dict[str, Any] | None) -> bool:
    return len(urlencode(query or {}, doseq=True)) < MOST


@schemathesis.hook
def filter_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> bool:
    return len(urlencode(path_parameters or {})) < MOST
