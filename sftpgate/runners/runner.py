"""A pass of a runner: the tools in order, each until nothing waits for it; and one run of one tool.

In one pass a tool goes after those that it names in ``after``, and only if they got through: a tool that failed, or that
still has something waiting (its retry delay is not over, or it is at work elsewhere), keeps those that depend on it from this
pass. An arrival that failed is not tried again in the same pass. ``stop`` (SIGTERM) ends the command, gives the file back with
the attempt counted, and ends the pass.

The event loop is only for the command and its heartbeat; what blocks is done in a thread. A crash leaves a dead claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.outcome import NOTHING_STATED, Statement, judge, of_command
from sftpgate.policy.runs import PROCESSED, RunOutcome
from sftpgate.policy.tools import in_order, output_rules
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.runners.claims import Claim, Claims, about_run
from sftpgate.runners.commands.command import Command, execute
from sftpgate.runners.commands.keepers import Task
from sftpgate.runners.commands.system_accounts import Unusable
from sftpgate.runners.heartbeat import beating
from sftpgate.runners.outputs import MAX_OUTPUT_BYTES
from sftpgate.settings.tools import ToolSettings
from sftpgate.threads import Threads

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL: above what databases need to roll back, below systemd's 90 s
_THREADS = 2  # one for the work, one for a heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run of a tool, and what became of the file. ``arrival`` is as the run left it."""

    tool: str
    arrival: Arrival
    outcome: RunOutcome
    exit_status: int
    attempt: int
    max_attempts: int
    seconds: float
    report: str | None
    tryback: str | None
    output: str | None
    statement: Statement
    stays: str = ""  # what does not end: the claim is held until it does


@dataclass(slots=True, kw_only=True)
class PassResult:
    """What a pass did: numbers of runs, and the tools that were kept from it because another one failed."""

    done: int = 0
    failed: int = 0
    put_off: int = 0  # runs whose file was not to blame
    skipped: list[str] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)  # tools that could not be started, and why: no attempt was spent

    @property
    def runs(self) -> int:
        """How many runs there were."""
        return self.done + self.failed + self.put_off


class PassAudience(Protocol):
    """Who is told what a pass does, while it does it. Called on the event loop."""

    def started(self, claim: Claim) -> None:
        """Take note that a run has begun."""

    def finished(self, result: RunResult) -> None:
        """Take note that a run has ended."""

    def skipped(self, tool: str, because_of: str) -> None:
        """Take note that a tool for which something waits is left out of this pass."""


class Runner:
    """Runs tools. One instance per pass, in one event loop."""

    def __init__(self, claims: Claims, tools: Mapping[str, ToolSettings], audience: PassAudience) -> None:
        self._claims = claims
        self._tools = tools
        self._audience = audience
        self._stop = asyncio.Event()
        self._threads = Threads(_THREADS, "run")

    def stop(self) -> None:
        """End the command that runs, and the pass."""
        self._stop.set()

    async def run(self, tools: Sequence[str], *, limit: int | None = None, unusable: Collection[str] = ()) -> PassResult:
        """Run the tools, at most ``limit`` times in all; those that are ``unusable`` count as failed, and spend no attempt.

        Raises SettingsError if their order is a circle.
        """
        result = PassResult()
        stuck: dict[str, str] = {}  # tools that did not get through: the one that is to blame; empty if nothing failed
        try:
            for tool in in_order(self._tools, tools):
                if self._is_over(result, limit):
                    break
                blocked_by = next((first for first in self._tools[tool].after if first in stuck), None)
                if tool in unusable:
                    stuck[tool] = tool
                elif blocked_by is None:
                    trouble = result.failed + result.put_off
                    await self._drain(tool, result, limit)
                    if result.failed + result.put_off > trouble or tool in result.unusable:
                        stuck[tool] = tool
                    elif await self._threads.run(self._is_unfinished, tool):
                        stuck[tool] = ""
                else:
                    stuck[tool] = stuck[blocked_by]
                    waits: bool = await self._threads.run(self._claims.candidates.has_waiting, tool)
                    if waits and stuck[tool]:
                        result.skipped.append(tool)
                        self._audience.skipped(tool, stuck[tool])
        finally:
            self._threads.close()
        return result

    def _is_over(self, result: PassResult, limit: int | None) -> bool:
        return self._stop.is_set() or (limit is not None and result.runs >= limit)

    def _is_unfinished(self, tool: str) -> bool:
        return self._claims.candidates.has_waiting(tool) or self._claims.has_claims(tool)

    async def _drain(self, tool: str, result: PassResult, limit: int | None) -> None:
        """Run a tool until nothing waits for it that was not tried already."""
        tried: set[ArrivalId] = set()
        with self._claims.only_runner(tool) as mine:
            while mine and not self._is_over(result, limit):
                try:
                    claim = await self._threads.run(self._claims.take, tool, skip=tried)
                    if claim is None:
                        return
                    self._audience.started(claim)
                    run = await self._run(claim)
                except Unusable as problem:
                    result.unusable[tool] = f"tools.{tool}: {problem}"
                    return
                if run.outcome in PROCESSED:
                    result.done += 1
                elif run.outcome is RunOutcome.NOT_THE_FILE:
                    result.put_off += 1
                else:
                    result.failed += 1
                if run.arrival.state in (ArrivalState.WAITING, ArrivalState.QUEUED):
                    tried.add(run.arrival.id)
                self._audience.finished(run)
                if run.stays:
                    return

    async def _run(self, claim: Claim) -> RunResult:
        """Run the command of a claim, and end the claim, unless something of the command does not end.

        Raises ClaimLost if another host has taken the claim meanwhile, and Unusable if the command could not be started and
        the file was given back.
        """
        tool = self._tools[claim.tool]
        try:
            async with beating(self._claims, self._threads, claim, self.stop):
                ended = await execute(self._claims.keepers, _command(tool, claim), self._stop)
        except BaseException:
            await self._threads.run(self._claims.end, claim, ClaimEnd(outcome=RunOutcome.INTERRUPTED))
            raise
        if ended.obstacle is not None:
            await self._threads.run(self._claims.end, claim, ClaimEnd(outcome=RunOutcome.RELEASED))
            raise Unusable(ended.obstacle)
        if ended.stays:
            await self._threads.run(self._claims.let_go, claim)
            return self._held(claim, RunOutcome.TIMED_OUT if ended.timed_out else RunOutcome.INTERRUPTED, ended.stays)
        statement: Statement = await self._threads.run(self._claims.statement_of, claim)
        if ended.timed_out:
            outcome = RunOutcome.TIMED_OUT
        elif ended.stopped:
            outcome = RunOutcome.INTERRUPTED
        else:
            statement = of_command(statement, ended.exit_status, is_heard=ended.is_heard or not output_rules(tool).are_there)
            outcome = judge(exit_status=ended.exit_status, retry_exit_codes=tool.retry_exit_codes, statement=statement)
        ending = ClaimEnd(outcome=outcome, statement=statement, exit_status=ended.exit_status, notices=ended.notices)
        finished = await self._threads.run(self._claims.end, claim, ending)
        return RunResult(
            tool=claim.tool,
            arrival=finished.arrival,
            outcome=outcome,
            exit_status=ended.exit_status,
            attempt=claim.arrival.attempts,
            max_attempts=tool.max_attempts,
            seconds=(finished.ended_at - claim.claimed_at).total_seconds(),
            report=finished.report,
            tryback=finished.tryback,
            output=finished.output,
            statement=statement,
        )

    def _held(self, claim: Claim, outcome: RunOutcome, stays: str) -> RunResult:
        return RunResult(
            tool=claim.tool,
            arrival=claim.arrival,
            outcome=outcome,
            exit_status=0,
            attempt=claim.arrival.attempts,
            max_attempts=self._tools[claim.tool].max_attempts,
            seconds=self._claims.seconds_since(claim.claimed_at),
            report=None,
            tryback=None,
            output=None,
            statement=NOTHING_STATED,
            stays=stays,
        )


def _command(tool: ToolSettings, claim: Claim) -> Command:
    return Command(
        task=Task(
            act="run",
            tool=claim.tool,
            run=claim.token,
            directory=str(claim.output.parent),
            file=str(claim.path),
            writes=(str(claim.tryback), str(claim.result)),
            about=about_run(claim.tool, claim.arrival.id, claim.path, claim.tryback, claim.result),
            grace_seconds=GRACE_SECONDS,
        ),
        output=claim.output,
        timeout_seconds=tool.timeout,
        inherited=[] if claim.lock is None else [claim.lock],
        output_limit_bytes=MAX_OUTPUT_BYTES,
    )
