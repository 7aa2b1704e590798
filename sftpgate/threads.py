"""Blocking work off the event loop, in a bounded pool of threads.

Work that commits must not be abandoned: a cancellation waits for it, and is raised afterwards, so that it falls before
or after a commit and never inside.

The pool is our own, because each small file takes three of them. The thread that worked last works next: its memory is in the
processor's caches, and its connection to the ledger too. The standard library's pool takes the one that has rested longest, and
needs a quarter more of processor time for a file; ``loop.run_in_executor`` with a shield costs twice as much as the way
back that is here.

Threads that work take turns with the event loop at the interpreter: with sixteen of them, the loop of a busy gate is late by
a tenth of a second. Those that wait for a disk do not. So few are let in at a time (``at_once``), and one more for each that has
been at it for longer than work takes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock, Thread
from typing import Generic, ParamSpec, TypeVar

from sftpgate.logs import get_logger

log = get_logger("threads")

P = ParamSpec("P")
T = TypeVar("T")

SLOW_SECONDS = 0.05  # what takes longer waits for the disk, most likely: a commit of many files is done by then

Deliver = Callable[[], object]  # takes the result to who waits for it


class Threads:
    """Runs functions in threads. ``threads`` bounds how many run at a time, ``at_once`` how many of them that are not slow (all,
    unless it is given); more wait in line.
    """

    def __init__(self, threads: int, name: str, *, at_once: int | None = None) -> None:
        self._most = threads
        self._at_once = at_once or threads
        self._name = name
        self._lock = Lock()
        self._threads: list[_Worker] = []
        self._idle: list[_Worker] = []  # the last one worked last
        self._busy: dict[_Worker, float] = {}  # since when, in monotonic time
        self._waiting: deque[Callable[[], Deliver | None]] = deque()
        self._watched = False  # somebody is going to look whether those that are busy are slow

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of the function; a cancellation of the caller is raised when the function is done."""
        call = self._begin(function, *args, **kwargs)
        try:
            return await call.result
        except asyncio.CancelledError:
            await call.wait()
            raise

    def begin(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Return a future of the result. The function goes on if nobody waits for it."""
        return self._begin(function, *args, **kwargs).result

    def start(self, function: Callable[[], object]) -> None:
        """Have this done, from any thread and without a loop; what it raises is logged. Raises RuntimeError after ``close``."""
        self._give(partial(_alone, function))

    def _begin(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> _Call[T]:
        loop = asyncio.get_running_loop()
        call: _Call[T] = _Call(loop)
        self._give(lambda: call.work(lambda: function(*args, **kwargs)))
        if self._waiting and not self._watched:
            self._watched = True
            loop.call_later(SLOW_SECONDS, self._let_in, loop)
        return call

    def _give(self, job: Callable[[], Deliver | None]) -> None:
        with self._lock:
            if not self._most:
                raise RuntimeError("these threads have ended")
            if self._waiting or not self._has_room():
                self._waiting.append(job)
            else:
                self._set_to(job)

    def _has_room(self) -> bool:
        """Return whether one more thread may work."""
        if len(self._busy) < self._at_once:
            return True
        recently = time.monotonic() - SLOW_SECONDS
        return len(self._busy) < self._most and sum(since > recently for since in self._busy.values()) < self._at_once

    def _set_to(self, job: Callable[[], Deliver | None]) -> None:
        worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = _Worker(self._done, f"{self._name}_{len(self._threads)}")
            self._threads.append(worker)
        self._take(worker, job)

    def _take(self, worker: _Worker, job: Callable[[], Deliver | None]) -> None:
        self._busy[worker] = time.monotonic()
        worker.take(job)

    def _let_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set one more thread to work for each that turned out to be slow."""
        with self._lock:
            while self._waiting and self._most and self._has_room():
                self._set_to(self._waiting.popleft())
            self._watched = bool(self._waiting)
        if self._watched:
            loop.call_later(SLOW_SECONDS, self._let_in, loop)

    def close(self) -> None:
        """Wait for what runs and what waits, and end the threads."""
        with self._lock:
            self._most = 0
            while self._idle:
                self._idle.pop().take(None)
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _done(self, worker: _Worker) -> None:
        """Let a thread that is done take what waits, end, or rest."""
        with self._lock:
            del self._busy[worker]
            if self._waiting and (self._has_room() or not self._most):
                self._take(worker, self._waiting.popleft())
            elif not self._most:
                worker.take(None)
            else:
                self._idle.append(worker)


class _Worker(Thread):
    """A thread of a pool. ``take`` wakes it up with a job, or with None to end. It is ready for the next job before it delivers
    what came of the last one: what that gives rise to finds it.
    """

    def __init__(self, done: Callable[[_Worker], None], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._done = done
        self._job: Callable[[], Deliver | None] | None = None
        self._has_job = Lock()
        self._has_job.acquire()
        self.start()

    def take(self, job: Callable[[], Deliver | None] | None) -> None:
        """Give it work. Called while it is ready."""
        self._job = job
        self._has_job.release()

    def run(self) -> None:
        """Work until nothing is given any more. This is the thread."""
        self._has_job.acquire()
        while self._job is not None:
            deliver = self._job()
            self._job = None
            self._done(self)
            if deliver is not None:
                with suppress(RuntimeError):  # the loop is closed, and nobody waits
                    deliver()
                deliver = None  # with what it holds
            self._has_job.acquire()


def _alone(function: Callable[[], object]) -> None:
    try:
        function()
    except BaseException as error:
        log.error("thread.failed", exc_info=error)


class _Call(Generic[T]):
    """One function on its way through a thread, and back."""

    __slots__ = ("_done", "_loop", "_waiter", "result")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._done = False
        self._waiter: asyncio.Future[None] | None = None  # of a caller that was cancelled
        self.result: asyncio.Future[T] = loop.create_future()

    def work(self, function: Callable[[], T]) -> Deliver:
        """Do the work, in the thread. Never raises."""
        try:
            found = function()
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            return partial(self._loop.call_soon_threadsafe, self._fail, error)
        return partial(self._loop.call_soon_threadsafe, self._succeed, found)

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
        """Wait until the function is done; if the caller is cancelled once more, that is left at it."""
        if not self._done:
            self._waiter = self._loop.create_future()
            await self._waiter
