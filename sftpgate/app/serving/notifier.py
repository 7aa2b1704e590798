"""The process that delivers notifications. ``sftpgate serve`` starts it beside its workers, if somebody is to be told something.

It reads and writes the outbox, and talks to mail servers, webhooks and commands of this machine: nothing that they do can keep a
worker, or the followers of the record, from their work. It is not confined as those are, because the commands that it starts are
the administrator's own. Several gates of one store have one each: a message is taken by one of them. A crash leaves messages that
are delivered again. It ends with its supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from contextlib import closing

from sftpgate.app.composition import utc_now
from sftpgate.app.notifications.parts import make_courier
from sftpgate.ledger.database.connection import Ledger
from sftpgate.logs import get_logger
from sftpgate.settings.choices import Durability
from sftpgate.settings.tree import Settings
from sftpgate.threads import Threads

log = get_logger("notify")

PARENT_SECONDS = 1.0  # how soon the end of the supervisor is seen
LEDGER_THREADS = 2  # their commits take turns with those of all others


async def run_notifier(settings: Settings, parent: int) -> None:
    """Deliver until SIGTERM, or until ``parent`` is gone. Raises SettingsError and LedgerError."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    threads = Threads(LEDGER_THREADS, "notify")
    with closing(Ledger(settings.ledger, durable=settings.durability is Durability.FULL)) as ledger:
        courier = make_courier(settings, ledger, threads, utc_now)
        log.info("notify.ready", pid=os.getpid(), receivers=", ".join(settings.notify.to))
        delivering = asyncio.create_task(courier.run())
        delivering.add_done_callback(lambda _: stopping.set())  # by an error that nobody foresaw
        try:
            await _until(stopping, parent)
        finally:
            delivering.cancel()
            await asyncio.wait([delivering])
            threads.close()
    if not delivering.cancelled():
        await delivering


async def _until(stopping: asyncio.Event, parent: int) -> None:
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), PARENT_SECONDS)
            return
