"""A process that the supervisor keeps running beside its workers: a command of sftpgate, such as the monitor.

One that dies is started again after a pause, and the gate serves without it meanwhile. One that ends in order (status 0) wants
to begin anew, and is started again at once. A reload lets another one take its place, which reads the settings anew. All methods
are called on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence

from sftpgate.logs import get_logger

log = get_logger("gate")

PAUSE_SECONDS = 5.0  # before one that died is replaced
STOP_SECONDS = 5.0


class SideProcess:
    """One such process. ``name`` is what the log calls it; it inherits the descriptors ``pass_fds``."""

    def __init__(self, name: str, words: Sequence[str], *, pass_fds: Sequence[int] = ()) -> None:
        self._name = name
        self._words = words
        self._pass_fds = tuple(pass_fds)
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._is_replaced = False

    def start(self) -> None:
        """Start it, and begin to look after it. Does nothing if that has begun."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_running())

    def reload(self) -> None:
        """Let another one, which reads the settings anew, take its place. Does nothing before ``start``."""
        if self._process is not None and self._process.returncode is None:
            self._is_replaced = True  # however it ends: it may not listen to signals yet
            self._process.terminate()

    def keep(self, *, wanted: bool) -> None:
        """Start it, or let another one take its place, if it is ``wanted``; otherwise end it."""
        if not wanted:
            self._let_go()
        elif self._task is None:
            self.start()
        else:
            self.reload()

    async def stop(self) -> None:
        """End it, and look after it no more. It is killed if it does not end in time."""
        self._let_go()
        if self._ending:
            await asyncio.wait(self._ending)

    def _let_go(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
            self._task.add_done_callback(self._ending.discard)
            self._task = None

    async def _keep_running(self) -> None:
        try:
            while True:
                status = await self._run_once()
                if self._is_replaced:
                    self._is_replaced = False
                elif status != 0:
                    log.error("side_process.died", process=self._name, status=status)
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await self._end()

    async def _run_once(self) -> int | str:
        """Return how it ended: its status, or why it could not be started."""
        words = [sys.executable, "-m", "sftpgate", *self._words]
        try:
            self._process = await asyncio.create_subprocess_exec(*words, pass_fds=self._pass_fds)
        except OSError as error:  # no process or no memory to be had at the moment
            return os.strerror(error.errno or 0)
        return await self._process.wait()

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        if process.returncode is None:
            process.kill()
