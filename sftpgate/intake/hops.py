"""Blocking work off the event loop, in a bounded pool of threads.

A hop that commits must not be abandoned: a cancellation waits for it, and is raised afterwards, so that it falls before
or after a commit and never inside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Hops:
    """Runs functions in threads. ``threads`` bounds how many run at a time; more wait."""

    def __init__(self, threads: int, name: str) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the function; a cancellation of the caller is raised when the function is done."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self.pool, lambda: function(*args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self.pool.shutdown(wait=True)
