"""Calls that come one by one, done many at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class _Call(Generic[T, R]):
    item: T
    results: list[R] | None = None


class Batcher(Generic[T, R]):
    """Hands `run` all that has come in while it was busy, in a thread, one batch at a time.

    `run` gives one result for each item, in their order. Where it fails, the call that started it
    fails, and the others are run anew with the next.
    """

    def __init__(self, run: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._run = run
        self._waiting: list[_Call[T, R]] = []
        self._lock = anyio.Lock()

    async def __call__(self, item: T) -> R:
        """The result for one item."""
        call: _Call[T, R] = _Call(item)
        self._waiting.append(call)
        try:
            await anyio.sleep(0)  # calls that were started together come in together
            async with self._lock:
                if call.results is None:
                    batch = list(self._waiting)
                    found = await anyio.to_thread.run_sync(self._run, [c.item for c in batch])
                    for each, result in zip(batch, found, strict=True):
                        each.results = [result]
                        self._waiting.remove(each)
        finally:
            if call in self._waiting:
                self._waiting.remove(call)
        assert call.results is not None
        return call.results[0]
