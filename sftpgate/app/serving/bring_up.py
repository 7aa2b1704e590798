"""In front of a stock consumer, the next version of a name comes up soon after the consumer has gone."""

from __future__ import annotations

import asyncio

from sftpgate.errors import SftpgateError
from sftpgate.logs import get_logger
from sftpgate.site import Site
from sftpgate.threads import Threads

log = get_logger("gate")

SECONDS = 1.0  # between two looks, which cost one lstat; below the pause between two passes of any batch tool


async def bring_up_regularly(site: Site, threads: Threads) -> None:
    """Look every second, until cancelled. Ends at once if there is no such consumer."""
    while site.journal.consumer is not None:
        try:
            await threads.run(site.placer.queues.bring_up)
        except SftpgateError as error:
            log.warning("bring_up.failed", reason=error.message)  # the next one may succeed
        await asyncio.sleep(SECONDS)
