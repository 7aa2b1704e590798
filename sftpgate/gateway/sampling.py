"""Regular looks at how a gate does, for the meter. Where nothing is counted, there are none."""

from __future__ import annotations

import asyncio
import time

from sftpgate.gateway.server import Gate
from sftpgate.meter import Meter

SAMPLE_SECONDS = 0.5  # also how late a lag is seen; far below what the monitor takes for dead


async def sample_regularly(gate: Gate, meter: Meter) -> None:
    """Tell the meter how much there is to do, and how late the event loop comes to what is due."""
    if not meter.counts:
        return
    loop = asyncio.get_running_loop()
    lag_seconds = 0.0
    while True:
        load = gate.load()
        meter.sample(
            connections=load.connections,
            sessions=load.sessions,
            lag_seconds=lag_seconds,
            publishing_seconds=load.publishing_seconds,
            now=time.time(),
        )
        due = loop.time() + SAMPLE_SECONDS
        await asyncio.sleep(SAMPLE_SECONDS)
        lag_seconds = max(0.0, loop.time() - due)
