"""Blocking work off the event loop, in a bounded pool of threads.

A hop that commits must not be abandoned: a cancellation waits for it, and is raised afterwards, so that it falls before
or after a commit and never inside.

The threads are the standard library's; the way back to the loop is ours, because each small file takes two hops, and
``loop.run_in_executor`` with a shield costs twice as much as what is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Hops:
    """Runs functions in threads. ``threads`` bounds how many run at a time; more wait."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the function; a cancellation of the caller is raised when the function is done."""
        hop = self._begin(function, *args, **kwargs)
        try:
            return await hop.result
        except asyncio.CancelledError:
            await hop.wait()
            raise

    def begin(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """A future of the result. The function goes on where nobody waits for it."""
        return self._begin(function, *args, **kwargs).result

    def _begin(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> _Hop[T]:
        hop: _Hop[T] = _Hop(asyncio.get_running_loop())
        self._pool.submit(hop.work, lambda: function(*args, **kwargs))
        return hop

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._pool.shutdown(wait=True)


class _Hop(Generic[T]):
    """One function on its way through a thread, and back."""

    __slots__ = ("_done", "_loop", "_waiter", "result")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._done = False
        self._waiter: asyncio.Future[None] | None = None  # of a caller that was cancelled
        self.result: asyncio.Future[T] = loop.create_future()

    def work(self, function: Callable[[], T]) -> None:
        """In the thread."""
        try:
            found = function()
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            self._loop.call_soon_threadsafe(self._fail, error)
        else:
            self._loop.call_soon_threadsafe(self._succeed, found)

    def _succeed(self, found: T) -> None:
        if not self.result.cancelled():
            self.result.set_result(found)
        self._end()

    def _fail(self, error: BaseException) -> None:
        if not self.result.cancelled():
            self.result.set_exception(error)
        else:
            self._loop.call_exception_handler({"message": "what a cancelled caller had begun failed", "exception": error})
        self._end()

    def _end(self) -> None:
        self._done = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Until the function is done; where the caller is cancelled once more, that is left at it."""
        if not self._done:
            self._waiter = self._loop.create_future()
            await self._waiter
