"""Workers: who does the work, and sending them home."""

from backroom.client.answers.stack import Worker
from backroom.client.channel import Channel, path_to

__all__ = ["Workers"]


class Workers:
    """The workers of a stack: `Backroom.workers`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def list(self) -> list[Worker]:
        """All that have been heard of lately."""
        answer = self._channel.call("GET", "/v1/workers")
        return answer.read(lambda raw: [Worker.from_json(worker) for worker in raw["workers"]])

    def quiet(self, worker_id: str) -> None:
        """Let it take no more jobs. Raises `NotFound`."""
        self._channel.call("POST", path_to("v1", "workers", worker_id, "quiet"), safe=True)

    def stop(self, worker_id: str) -> None:
        """Let it finish what it runs, and end. Raises `NotFound`."""
        self._channel.call("POST", path_to("v1", "workers", worker_id, "stop"), safe=True)
