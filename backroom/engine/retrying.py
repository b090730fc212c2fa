"""Whether and when a failed try is followed by another."""

import logging
from typing import Any

from backroom.model.backoff import MAX_BACKOFF_SECONDS, Backoff, CustomBackoff, milliseconds_of, seconds_of
from backroom.model.control import Unrecoverable
from backroom.model.options import BackoffOption

__all__ = ["next_delay_ms"]

logger = logging.getLogger(__name__)


def next_delay_ms(
    options: dict[str, Any], attempt: int, error: BaseException, default: Backoff | CustomBackoff | None
) -> int | None:
    """Milliseconds until the next try after the ``attempt``-th (1 first) failed with ``error``; None: there is none.

    ``options`` are the job's, in JSON's words; ``default`` is its type's backoff, which the job's own overrides.
    """
    if isinstance(error, Unrecoverable) or attempt >= int(options.get("attempts", 1)):
        return None
    own = options.get("backoff")
    if own is not None:
        return milliseconds_of(BackoffOption.model_validate(own).rule().seconds(attempt))
    if default is None:
        return 0
    if isinstance(default, Backoff):
        return milliseconds_of(default.seconds(attempt))
    try:
        seconds = seconds_of(default(attempt, error))
        return None if seconds < 0 else milliseconds_of(min(seconds, MAX_BACKOFF_SECONDS))
    except Exception:
        logger.exception("the backoff strategy of a job type failed; trying again at once")
        return 0
