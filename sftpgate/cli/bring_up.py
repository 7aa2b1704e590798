"""In front of a stock consumer, the next version of a name comes up soon after the consumer has gone."""

from __future__ import annotations

import asyncio

from sftpgate.cli.compose import System
from sftpgate.errors import SftpgateError
from sftpgate.intake.hops import Hops
from sftpgate.logs import get_logger

log = get_logger("gate")

SECONDS = 1.0  # between two looks, which cost one lstat; below the pause between two passes of any batch tool


async def bring_up_regularly(system: System, hops: Hops) -> None:
    """Look every second, until cancelled. Ends at once where there is no such consumer."""
    while system.moves.consumer is not None:
        try:
            await hops.run(system.placer.bring_up)
        except SftpgateError as error:
            log.warning("bring_up.failed", reason=error.message)  # the next one may succeed
        await asyncio.sleep(SECONDS)
