"""Holding a claim while something works on the file: the heartbeat, and ``async with claimed(claims, tool)`` for Python.

    async with claimed(claims, "enrols") as claim:
        if claim is not None:
            process(claim.path)
            claim.output.write_text("12 enrolled\\n")

The block's end archives the file; an exception in it is a failed attempt, and its traceback goes into the report.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Callable

from sftpgate.errors import ClaimLost, SftpgateError
from sftpgate.logs import get_logger
from sftpgate.policy.outcome import by_statement
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.runners.claims import HEARTBEAT_SECONDS, Claim, Claims
from sftpgate.threads import Threads

log = get_logger("runner")


@contextlib.asynccontextmanager
async def beating(claims: Claims, threads: Threads, claim: Claim, lost: Callable[[], None]) -> AsyncIterator[None]:
    """Extend the lease of a claim now and then during the block. ``lost`` is called if another host has taken it."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await threads.run(claims.extend, claim)
            except ClaimLost:
                lost()
                return
            except SftpgateError as error:  # the next one may succeed; the lease is longer than several of them
                log.warning("claim.not_extended", tool=claim.tool, arrival=claim.arrival.id, reason=error.message)

    beats = asyncio.create_task(beat())
    try:
        yield
    finally:
        beats.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beats


@contextlib.asynccontextmanager
async def claimed(claims: Claims, tool: str) -> AsyncIterator[Claim | None]:
    """Hold the oldest file that waits for ``tool``; None if there is none, or if the tool is at work.

    Raises UnknownTool, and at the end ClaimLost if another host has taken the claim meanwhile.
    """
    threads = Threads(2, "claim")
    try:
        with claims.only_runner(tool) as mine:
            claim = await threads.run(claims.take, tool) if mine else None
            if claim is None:
                yield None
                return
            ending = ClaimEnd(outcome=RunOutcome.INTERRUPTED)  # cancelled, or the process is told to end
            try:
                async with beating(claims, threads, claim, lambda: None):
                    yield claim
                statement = await threads.run(claims.statement_of, claim)
                ending = ClaimEnd(outcome=by_statement(RunOutcome.DONE, statement), statement=statement)
            except Exception:
                ending = ClaimEnd(outcome=RunOutcome.FAILED)
                with claim.output.open("a", encoding="utf-8", errors="backslashreplace") as output:
                    output.write(traceback.format_exc())
                raise
            finally:
                await threads.run(claims.end, claim, ending)
    finally:
        threads.close()
