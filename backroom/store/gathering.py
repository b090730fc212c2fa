"""Gathering: calls that several threads make at the same time travel together.

A call over the network costs both sides more than most of what is asked for in it. While one is under way, other
threads leave theirs in a heap; when it is back, one of them takes the whole heap along. Before it goes it lets those
threads run that could run as well, for the same reason; a lone thread notices nothing: nobody waits for company.

The main thread always goes alone. There a signal may raise an exception at any point, as it does in a job of the
prefork pool that is cancelled or out of time: others would be left waiting, and the next call of its own as well.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

__all__ = ["Gathering"]

A = TypeVar("A")
Q = TypeVar("Q")

#: Questions in one call.
MOST_TOGETHER: Final = 100


class _Waiting(Generic[Q, A]):
    """A thread's question, and in the end its answer."""

    __slots__ = ("answer", "is_next", "question", "woken")

    def __init__(self, question: Q) -> None:
        self.question = question
        self.answer: A | BaseException | None = None
        #: Whether the thread is woken to make the next call, not because it has its answer.
        self.is_next = False
        self.woken = threading.Lock()
        self.woken.acquire()


class Gathering(Generic[Q, A]):
    """Asks questions of several threads together."""

    def __init__(self, ask: Callable[[Sequence[Q]], Sequence[A | BaseException]], *, most: int = MOST_TOGETHER) -> None:
        """``ask`` answers 1 to ``most`` questions in their order, each with an answer or an exception.

        What it raises itself concerns everybody: those that lie there too, which would else wait for the same again.
        """
        self._ask, self._most = ask, most
        self._lock = threading.Lock()
        self._heap: list[_Waiting[Q, A]] = []
        self._is_under_way = False

    def __call__(self, question: Q) -> A:
        """The answer, or the exception that stands in its place."""
        if threading.get_ident() == threading.main_thread().ident:
            return _found(self._ask([question])[0])
        mine: _Waiting[Q, A] = _Waiting(question)
        with self._lock:
            self._heap.append(mine)
            goes = not self._is_under_way
            self._is_under_way = True
        if not goes:
            mine.woken.acquire()
        if goes or mine.is_next:
            self._go()
        assert mine.answer is not None
        return _found(mine.answer)

    def _go(self) -> None:
        """Take what lies there, the own question first; then hand over to one of those who have come meanwhile."""
        time.sleep(0)
        with self._lock:
            taken, self._heap = self._heap[: self._most], self._heap[self._most :]
        answers: Sequence[A | BaseException]
        try:
            answers = self._ask([each.question for each in taken])
        except BaseException as error:  # noqa: BLE001 - it is raised again, in each of the threads
            with self._lock:
                taken, self._heap = taken + self._heap, []
            answers = [error] * len(taken)
        for each, answer in zip(taken, answers, strict=True):
            each.answer = answer
            each.woken.release()
        with self._lock:
            following = self._heap[0] if self._heap else None
            self._is_under_way = following is not None
        if following is not None:
            following.is_next = True
            following.woken.release()


def _found(answer: A | BaseException) -> A:
    if isinstance(answer, BaseException):
        raise answer
    return answer
