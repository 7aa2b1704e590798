"""Keeping a claim while something works on it: heartbeats, and the ``async with`` form for Python programs (promise P4).

A heartbeat that fails is tried again at the next beat: a lease outlasts several. One that finds the claim gone says so at once,
so that the work can be stopped: another runner may have the file by now. A crash leaves a claim that is dead (see ``claims``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sftpgate.errors import ClaimLost, LedgerError
from sftpgate.intake.hops import Hops
from sftpgate.logs import get_logger
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claims import HEARTBEAT_SECONDS, Claim, Claims, Ending

log = get_logger("runner")


@contextlib.asynccontextmanager
async def kept(claims: Claims, claim: Claim, hops: Hops, *, every_seconds: float = HEARTBEAT_SECONDS) -> AsyncIterator[asyncio.Event]:
    """Extend the lease for as long as the block takes. Yields an event that is set when the claim was lost."""
    lost = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(_beat(claims, claim, hops, lost, every_seconds))
        try:
            yield lost
        finally:
            beating.cancel()


@contextlib.asynccontextmanager
async def claimed(claims: Claims, tool: str) -> AsyncIterator[Claim | None]:
    """Claim the oldest arrival for ``tool`` and hold it for the block; None where there is none.

    The block's end is success: the file is archived. An exception is a failed attempt; a cancellation gives the file back.
    """
    hops = Hops(1, "claim")
    try:
        claim = await hops.run(claims.take, tool)
        if claim is None:
            yield None
            return
        try:
            async with kept(claims, claim, hops):
                yield claim
        except asyncio.CancelledError:
            await hops.run(claims.end, claim, Ending(outcome=RunOutcome.INTERRUPTED))
            raise
        except BaseException as error:
            reason = _reason(error)
            await hops.run(claims.end, claim, Ending(outcome=RunOutcome.FAILED, notices=(reason,)))
            if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                raise error.exceptions[0] from None  # the group is ours, the block knows nothing of it
            raise
        await hops.run(claims.end, claim, Ending(outcome=RunOutcome.DONE))
    finally:
        hops.close()


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def _beat(claims: Claims, claim: Claim, hops: Hops, lost: asyncio.Event, every_seconds: float) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await hops.run(claims.extend, claim)
        except ClaimLost:
            log.error("claim.lost", tool=claim.tool, arrival=claim.arrival.id, path=claim.arrival.path)
            lost.set()
            return
        except LedgerError as error:
            log.warning("claim.not_extended", tool=claim.tool, arrival=claim.arrival.id, reason=error.message)
