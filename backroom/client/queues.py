"""Queues: looking at them, holding them, limiting them, emptying them."""

from backroom.client.answers.fields import Raw
from backroom.client.answers.queues import Queue, Rate
from backroom.client.channel import Answer, Channel, path_to
from backroom.client.options import Duration, milliseconds
from backroom.model.states import State

__all__ = ["Queues"]


class Queues:
    """The queues of a stack: `Backroom.queues`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def list(self) -> list[Queue]:
        """All queues, by name."""
        answer = self._channel.call("GET", "/v1/queues")
        return answer.read(lambda raw: [Queue.from_json(queue) for queue in raw["queues"]])

    def get(self, name: str) -> Queue:
        """One queue. Raises `NotFound` for one that was never named."""
        return self._channel.call("GET", path_to("v1", "queues", name)).read(Queue.from_json)

    def pause(self, name: str) -> Queue:
        """Start no more jobs of the queue; those that run go on, and new ones are taken."""
        return self._act(name, "pause")

    def resume(self, name: str) -> Queue:
        """Undo `pause`."""
        return self._act(name, "resume")

    def set_limits(
        self, name: str, *, concurrency: int | None = None, rate: Rate | None = None, max_length: int | None = None
    ) -> Queue:
        """Replace the limits of a queue, which hold over all workers together; None: no such limit.

        ``concurrency``: jobs that run at once. ``max_length``: waiting and delayed jobs; more are refused.
        """
        body: dict[str, object] = {
            "concurrency": concurrency,
            "rate": None if rate is None else {"max": rate.max, "duration": milliseconds(rate.seconds)},
            "maxLength": max_length,
        }
        body = {word: value for word, value in body.items() if value is not None}
        return self._channel.call("PUT", path_to("v1", "queues", name, "limits"), body=body).read(Queue.from_json)

    def clear_limits(self, name: str) -> Queue:
        """Take all limits of a queue away."""
        return self._channel.call("DELETE", path_to("v1", "queues", name, "limits")).read(Queue.from_json)

    def drain(self, name: str, *, delayed: bool = False) -> int:
        """Remove the waiting jobs of a queue, and with ``delayed`` the delayed ones. Returns how many."""
        return self._empty(name, "drain", {"delayed": delayed}, safe=True).read(_removed)

    def clean(
        self, name: str, state: State | str = State.COMPLETED, *, grace: Duration = 0, limit: int = 1000
    ) -> tuple[str, ...]:
        """Remove jobs in one state that are older than ``grace`` seconds, at most ``limit``. Returns their ids.

        A finished job's age counts from its end, another's from its submission. Raises `InvalidInput` for active jobs.
        """
        body = {"state": str(state), "grace": milliseconds(grace), "limit": limit}
        return self._empty(name, "clean", body).read(lambda raw: tuple(raw["ids"]))

    def obliterate(self, name: str, *, force: bool = False) -> int:
        """Remove a queue with everything in it. Returns how many jobs that were.

        Raises `Conflict` while any of its jobs runs, unless ``force``: then they are told to stop.
        """
        return self._empty(name, "obliterate", {"force": force}).read(_removed)

    def _empty(self, name: str, verb: str, body: Raw, *, safe: bool = False) -> Answer:
        """Take jobs out; ``safe`` where doing it twice does no more. Raises `NotFound`."""
        return self._channel.call("POST", path_to("v1", "queues", name, verb), body=body, safe=safe)

    def _act(self, name: str, verb: str) -> Queue:
        return self._channel.call("POST", path_to("v1", "queues", name, verb), safe=True).read(Queue.from_json)


def _removed(raw: Raw) -> int:
    """How many jobs are gone."""
    removed: int = raw["removed"]
    return removed
