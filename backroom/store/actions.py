"""What people do to single jobs."""

from collections.abc import Sequence
from typing import Any

from backroom.model.errors import NotFound, Stale, WrongState
from backroom.model.options import check_run_at
from backroom.store.part import Part
from backroom.store.scripts import pack

__all__ = ["Actions"]


class Actions(Part):
    """Each raises `NotFound`, or `WrongState` when the job's state does not allow it; then nothing was changed."""

    def cancel(self, job_id: str, *, running: bool = True) -> bool:
        """Cancel a job that has not finished. True: done; False: it runs, and its worker was told to stop it.

        With ``running=False`` a job that runs is left alone: `WrongState`.
        """
        return self._act("cancel", "cancelled", job_id, "1" if running else "0") == "ok"

    def retry(self, job_id: str, *, reset_attempts: bool = False) -> None:
        """Run a finished job again, with its options and priority; without ``reset_attempts`` it has one more try."""
        self._act("retry", "retried", job_id, "1" if reset_attempts else "0")

    def remove(self, job_id: str) -> None:
        """Remove a job that is not running, with its logs and results."""
        self._act("remove", "removed", job_id)

    def promote(self, job_id: str) -> None:
        """Make a delayed job waiting at once."""
        self._act("reschedule", "promoted", job_id, "0", "")

    def reschedule(self, job_id: str, *, run_at_ms: int | None = None, delay_ms: int | None = None) -> None:
        """Give a delayed job another due time: ms since 1970 (until 2100, else `InvalidInput`), or ms from now."""
        if (run_at_ms is None) == (delay_ms is None):
            raise ValueError("give run_at_ms or delay_ms, and not both")
        if run_at_ms is not None:
            check_run_at(run_at_ms, "/runAt")
        due = "" if run_at_ms is None else run_at_ms
        self._act("reschedule", "rescheduled", job_id, due, "" if delay_ms is None else delay_ms)

    def update(
        self, job_id: str, version: str, *, data: str | None = None, user_id: str | None = None,
        priority: int | None = None, tags: Sequence[str] | None = None, options: str | None = None,
    ) -> None:  # fmt: skip
        """Change a job that is not running and has not finished; what is None stays.

        ``version`` is that of the job as the caller has read it: raises `Stale` if it has changed. ``data`` is JSON
        text, and ``user_id`` the ``userId`` in it; ``options`` is JSON text of all options, the changed ones among
        them.
        """
        change: dict[str, Any] = {}
        if data is not None:
            change["data"] = data
            if user_id is not None:
                change["user"] = user_id
        if priority is not None:
            change["priority"] = priority
        if tags is not None:
            change["tags"] = list(tags)
        if options is not None:
            change["options"] = options
        if self._act("update", "changed", job_id, version, pack(change)) == "stale":
            raise Stale(job_id)

    def _act(self, script: str, done: str, job_id: str, *arguments: Any) -> str:
        answer = self._run(script, job_id, *arguments)
        if answer[0] == "missing":
            raise NotFound("job", job_id)
        if answer[0] == "state":
            raise WrongState(job_id, answer[1], done)
        return str(answer[0])
