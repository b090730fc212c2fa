"""Whether the worker of this host can be given jobs: ``python -m services.worker.health`` exits 0 if so, else 1.

It asks the job store and not the worker: a worker that cannot reach Redis, or whose main process hangs, stops reporting
there, and is taken for gone within seconds.
"""

import socket
import sys

from backroom.model.errors import StoreUnavailable
from backroom.settings import get_settings
from backroom.store import Store

__all__ = ["ailment", "main"]


def ailment(store: Store, *, host: str) -> str | None:
    """What keeps the worker of ``host`` from being given jobs, in words; None if nothing does."""
    try:
        workers = store.workers.list()
        offered = store.job_types.list()
    except StoreUnavailable as error:
        return f"the job store cannot be asked: {error}"
    if not any(worker.host == host for worker in workers):
        return f"no worker of {host} has reported to the job store lately"
    if not any(job_type.workers for job_type in offered):
        return "no worker has published its job types yet"
    return None


def main() -> int:
    """Print what is wrong, if anything is, for the health log of the container."""
    wrong = ailment(Store.from_settings(get_settings()), host=socket.gethostname())
    sys.stdout.write(f"{wrong or 'healthy'}\n")
    return 0 if wrong is None else 1


if __name__ == "__main__":
    sys.exit(main())
