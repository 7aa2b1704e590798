"""Holding a claim while something works on the file: the heartbeat, and ``async with claimed(system, tool)`` for Python.

    async with claimed(system, "enrols") as claim:
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
from typing import Protocol

from sftpgate.errors import ClaimLost, SftpgateError
from sftpgate.intake.hops import Hops
from sftpgate.intake.moves import Moves
from sftpgate.intake.placing import Placer
from sftpgate.ledger.actor import Actor, runner
from sftpgate.logs import get_logger
from sftpgate.policy.outcome import by_statement
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.candidates import Candidates
from sftpgate.runners.claims import HEARTBEAT_SECONDS, Claim, Claims
from sftpgate.runners.endings import Ending
from sftpgate.runners.keepers import Keepers
from sftpgate.settings import Language, Settings

log = get_logger("runner")


class RunnerSystem(Protocol):
    """The parts of a running system that runners need; ``cli.compose.System`` has them."""

    @property
    def settings(self) -> Settings:
        """All settings."""

    @property
    def moves(self) -> Moves:
        """The door through which names change."""

    @property
    def placer(self) -> Placer:
        """What puts files where they belong."""

    def language_of(self, user: str) -> Language:
        """The language in which a user is written to."""


def make_claims(system: RunnerSystem, actor: Actor | None = None, *, keepers: Keepers | None = None) -> Claims:
    """The claims of a system, which ``actor`` makes and ends: the local account that runs tools, unless told otherwise.

    ``keepers``: what starts commands, where that is not just as we are.
    """
    rules = system.placer.rules
    candidates = Candidates(system.moves, rules.names, rules.pointers, settle_seconds=system.settings.settle_seconds)
    tools = system.settings.tools
    return Claims(system.moves, system.placer, candidates, tools, actor or runner(), keepers, language_of=system.language_of)


@contextlib.asynccontextmanager
async def beating(claims: Claims, hops: Hops, claim: Claim, lost: Callable[[], None]) -> AsyncIterator[None]:
    """Extend the lease of a claim now and then during the block. ``lost`` is called where another host has taken it."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await hops.run(claims.extend, claim)
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
async def claimed(system: RunnerSystem, tool: str) -> AsyncIterator[Claim | None]:
    """Hold the oldest file that waits for ``tool``; None where there is none, or where the tool is at work.

    Raises UnknownTool, and at the end ClaimLost where another host has taken the claim meanwhile.
    """
    claims = make_claims(system)
    hops = Hops(2, "claim")
    try:
        with claims.only_runner(tool) as mine:
            claim = await hops.run(claims.take, tool) if mine else None
            if claim is None:
                yield None
                return
            ending = Ending(outcome=RunOutcome.INTERRUPTED)  # cancelled, or the process is told to end
            try:
                async with beating(claims, hops, claim, lambda: None):
                    yield claim
                statement = await hops.run(claims.statement_of, claim)
                ending = Ending(outcome=by_statement(RunOutcome.DONE, statement), statement=statement)
            except Exception:
                ending = Ending(outcome=RunOutcome.FAILED)
                with claim.output.open("a", encoding="utf-8", errors="backslashreplace") as output:
                    output.write(traceback.format_exc())
                raise
            finally:
                await hops.run(claims.end, claim, ending)
    finally:
        hops.close()
