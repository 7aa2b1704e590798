"""The process that shows metrics and health on a loopback port.

It reads: the ledger, the disk, and the files in which worker processes count (``meter``). So nothing that asks it can slow the
gate down, and it answers when the gate does not. It ends with its supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sftpgate.ledger.database.connection import Ledger
from sftpgate.logs import get_logger
from sftpgate.meter import DIRECTORY_VARIABLE
from sftpgate.monitor.http import Server
from sftpgate.monitor.pages import healthz, metrics
from sftpgate.monitor.snapshot import Snapshot
from sftpgate.settings.tree import Settings

log = get_logger("monitor")

PARENT_SECONDS = 1.0  # how soon the end of the supervisor is seen


async def serve(settings: Settings, listeners: Sequence[socket.socket], parent: int) -> None:
    """Answer on these sockets until SIGTERM, or until ``parent`` is gone."""

    if os.getppid() != parent:  # it ended while this process started, and the next one wants the port
        return
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C goes to the supervisor too, which tells us
    ledger = Ledger(settings.ledger)
    snapshot = Snapshot(settings, Path(os.environ[DIRECTORY_VARIABLE]), ledger, started_at=datetime.now(UTC))
    server = Server({"/metrics": partial(metrics, snapshot), "/healthz": partial(healthz, snapshot)})
    await server.start(listeners)
    host, port = listeners[0].getsockname()[:2]
    log.info("monitor.ready", address=host, port=port, pid=os.getpid())
    watching = asyncio.create_task(_watch_parent(parent, stopping))
    await stopping.wait()
    watching.cancel()
    server.close()
    ledger.close()


async def _watch_parent(parent: int, stopping: asyncio.Event) -> None:
    """End when the supervisor is gone. Whoever is killed tells nobody, and then there is nothing to watch."""

    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), PARENT_SECONDS)
            return
    stopping.set()
