"""Which queues a worker serves.

A worker of an ordinary Celery application serves what Celery says: the queues in ``task_queues`` (or the default one),
or those named with ``-Q``. A worker of an application from `backroom.engine.app.create_app` serves every queue there
is, new ones as well, unless ``-Q`` names some.
"""

from collections.abc import Sequence
from typing import Any

from celery.app.amqp import AMQP, Queues
from kombu.utils.functional import maybe_list

__all__ = ["EveryQueue", "EveryQueueAMQP", "served_queues"]


class EveryQueue(Queues):
    """Celery's queues, which also remembers those that ``-X`` excludes: they need not be known.

    Blanks around names, as in ``-Q "mail, images"``, are nobody's: no name of Backroom's may hold one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.excluded: tuple[str, ...] = ()

    def select(self, include: str | Sequence[str] | None) -> None:
        """Consume from these queues alone."""
        super().select(_names(include))

    def deselect(self, exclude: str | Sequence[str] | None) -> None:
        """Do not consume from these queues."""
        names = _names(exclude)
        super().deselect(names)
        self.excluded += tuple(names)


def _names(given: str | Sequence[str] | None) -> list[str]:
    return [name.strip() for name in maybe_list(given) or () if name.strip()]


class EveryQueueAMQP(AMQP):
    """For ``Celery(amqp=...)``: its workers serve every queue."""

    queues_cls = EveryQueue


def served_queues(queues: Any, *, direct: bool) -> tuple[list[str] | None, list[str]]:
    """The names of the queues to serve, or None for every queue; and those that are not to be served.

    ``queues`` are the application's, after ``-Q`` and ``-X``; ``direct``: each worker has a queue of its own
    (``worker_direct``), which others must leave alone.
    """
    if isinstance(queues, EveryQueue) and queues._consume_from is None and not direct:  # noqa: SLF001 - how Celery keeps -Q
        return None, list(queues.excluded)
    return list(queues.consume_from), list(getattr(queues, "excluded", ()))
