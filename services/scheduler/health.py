"""Whether the scheduler of this host does its rounds: ``python -m services.scheduler.health`` exits 0 if so, else 1."""

import socket
import sys

from backroom.model.errors import StoreUnavailable
from backroom.settings import get_settings
from backroom.store import Store
from backroom.store.connection import store_errors

__all__ = ["ailment", "main"]

#: A scheduler that did no round for this long, in seconds, is not healthy; with slow rounds, for three of them.
LATE_SECONDS = 15.0


def ailment(store: Store, *, host: str) -> str | None:
    """What is wrong with the scheduler of ``host``, in words; None if nothing is."""
    try:
        ticks = store.workers.scheduler_ticks()
        with store_errors():
            seconds, micros = store.redis.time()  # the clock of the ticks
    except StoreUnavailable as error:
        return f"the job store cannot be asked: {error}"
    own = [at for name, at in ticks.items() if name.startswith(f"scheduler@{host}-")]
    if not own:
        return f"no scheduler of {host} has done its rounds yet"
    late = int(seconds) + int(micros) / 1e6 - max(own)
    if late > max(LATE_SECONDS, 3 * store.settings.sweep_seconds):
        return f"the scheduler's last round was {late:.0f} s ago"
    return None


def main() -> int:
    """Print what is wrong, if anything is, for the health log of the container."""
    wrong = ailment(Store.from_settings(get_settings()), host=socket.gethostname())
    sys.stdout.write(f"{wrong or 'healthy'}\n")
    return 0 if wrong is None else 1


if __name__ == "__main__":
    sys.exit(main())
