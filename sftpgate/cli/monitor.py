"""``sftpgate monitor``: the process that shows metrics and health on a loopback port.

It reads: the ledger, the disk, and the files in which worker processes count (``meter``). So nothing that asks it can slow the
gate down, and it answers when the gate does not. It ends with its supervisor.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import asyncio

    from sftpgate.settings import Settings


PARENT_SECONDS = 1.0  # how soon the end of the supervisor is seen


def monitor(
    listeners: Annotated[list[int], typer.Argument(help="Descriptors of the sockets to serve on.")],
    parent: Annotated[int, typer.Option(help="Process without which there is nothing to watch.")],
) -> None:
    """The process that shows metrics and health, for `sftpgate serve`, which starts it.

    Example: sftpgate monitor --parent 4711 5
    """
    import asyncio

    from sftpgate import logs, settings
    from sftpgate.cli.context import become_owner

    loaded = settings.load()
    become_owner(loaded.store)
    logs.configure(loaded.log_level, serving=True)
    asyncio.run(_serve(loaded, [socket.socket(fileno=number) for number in listeners], parent))


async def _serve(settings: Settings, listeners: Sequence[socket.socket], parent: int) -> None:
    import asyncio
    import signal
    from datetime import UTC, datetime
    from functools import partial

    from sftpgate.ledger.database import Ledger
    from sftpgate.logs import get_logger
    from sftpgate.meter import DIRECTORY_VARIABLE
    from sftpgate.monitor.http import Server
    from sftpgate.monitor.pages import healthz, metrics
    from sftpgate.monitor.sight import Sight

    if os.getppid() != parent:  # it ended while this process started, and the next one wants the port
        return
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C goes to the supervisor too, which tells us
    ledger = Ledger(settings.ledger)
    sight = Sight(settings, Path(os.environ[DIRECTORY_VARIABLE]), ledger, started_at=datetime.now(UTC))
    server = Server({"/metrics": partial(metrics, sight), "/healthz": partial(healthz, sight)})
    await server.start(listeners)
    host, port = listeners[0].getsockname()[:2]
    get_logger("monitor").info("monitor.ready", address=host, port=port, pid=os.getpid())
    watching = asyncio.create_task(_watch_parent(parent, stopping))
    await stopping.wait()
    watching.cancel()
    server.close()
    ledger.close()


async def _watch_parent(parent: int, stopping: asyncio.Event) -> None:
    """Whoever is killed tells nobody: without the supervisor there is nothing to watch."""
    import asyncio

    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), PARENT_SECONDS)
            return
    stopping.set()
