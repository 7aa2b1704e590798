"""The tasks of a gate: one group for all of them, and the sign that the gate is stopping."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from sftpgate.logs import get_logger

log = get_logger("gateway")


class Tasks:
    """Starts what connections and sessions do beside each other. ``group`` is there while the gate runs."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.group: asyncio.TaskGroup

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Do ``work`` beside everything else. An error in it is logged, and ends nothing else."""
        self.group.create_task(_guarded(work))


async def _guarded(work: Coroutine[object, object, None]) -> None:
    """Log the error of a task: one that fails must not end the others."""
    try:
        await work
    except Exception as error:
        log.error("task.failed", exc_info=error)
