"""What the faces over HTTP have in common: the parts of the site, threads for what blocks, and how a face is plugged in.

A face is a function that is given the ground and returns its routes. It reads and changes by use cases of ``app``, which block:
each of them is called in a thread, by ``Ground.run``. The number of threads bounds how much of the machine all requests
take together; who does not get one waits in line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from starlette.routing import BaseRoute

from sftpgate.ids import Clock
from sftpgate.settings.tree import Settings
from sftpgate.site import Site
from sftpgate.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8  # requests that look or change at a time
THREADS_AT_ONCE = 2  # of those that do not wait long, so that the event loop has its turn


def make_threads() -> Threads:
    """Return the threads in which use cases run."""
    return Threads(THREADS, "console", at_once=THREADS_AT_ONCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a face is built on. One per process."""

    site: Site
    threads: Threads = field(default_factory=make_threads)

    @property
    def settings(self) -> Settings:
        """The settings of this process; a reload makes a new process."""
        return self.site.settings

    @property
    def clock(self) -> Clock:
        """The wall clock, in UTC."""
        return self.site.clock

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a use case, which runs in a thread. Raises what it raises. A request that is broken off waits for
        the end of what it has begun.
        """
        return await self.threads.run(function, *args, **kwargs)


Face = Callable[[Ground], Sequence[BaseRoute]]
