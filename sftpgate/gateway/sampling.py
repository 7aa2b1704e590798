"""Regular looks at how a gate does, for the meter. If nothing is counted, there are none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sftpgate.gateway.gate import Gate
from sftpgate.meter import Meter

LAG_SECONDS = 0.05  # between two looks at the lag: often enough for a quantile of a minute
SAMPLE_SECONDS = 0.5  # far below what the monitor takes for dead


async def sample_regularly(gate: Gate, meter: Meter, store_lock_seconds: Callable[[], float]) -> None:
    """Tell the meter how much there is to do, for how long nobody could get the store's lock, and how late the event loop is."""
    if not meter.counts:
        return
    loop = asyncio.get_running_loop()
    while True:
        load = gate.load()
        meter.sample(
            connections=load.connections,
            sessions=load.sessions,
            publishing_seconds=load.publishing_seconds,
            store_lock_seconds=store_lock_seconds(),
            now=time.time(),
        )
        sampled_at = loop.time()
        while (due := loop.time() + LAG_SECONDS) <= sampled_at + SAMPLE_SECONDS:
            await asyncio.sleep(LAG_SECONDS)
            meter.lag(max(0.0, loop.time() - due))
