"""The runner: tools in their order, each drained: claim, execute, report, archive.

A pass takes each arrival once: one that failed waits for the next pass. A tool whose predecessors (``after``) failed in this pass,
or are at work in another process, is left out: its files wait. Exactly one runner per tool and host, by a lock; across hosts the
claim decides (promise P4). A stop ends the command with everything that it started, gives the file back, and ends the pass.

A crash leaves a claim whose lock is free: the next pass, or the sweeper, brings the file back, and a guard ends the command.
Runs on the event loop; claims and reports are made in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sftpgate.errors import ClaimLost
from sftpgate.intake.hops import Hops
from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from sftpgate.policy.tools import in_order
from sftpgate.runners.candidates import Candidates
from sftpgate.runners.claims import Claim, Claims, Ending
from sftpgate.runners.command import Command, Ended, execute
from sftpgate.runners.lease import kept
from sftpgate.settings import ENV_PREFIX, ToolSettings

log = get_logger("runner")

FILE_WORD = "{file}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One run that ended. ``state`` is what became of the arrival; None where the claim was lost meanwhile."""

    tool: str
    arrival: ArrivalId
    path: str
    outcome: RunOutcome
    exit_status: int | None
    attempt: int
    max_attempts: int
    seconds: float
    state: ArrivalState | None
    report: str | None
    tryback: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A tool that was left out of a pass although files wait for it. ``predecessor`` is the tool because of which."""

    tool: str
    predecessor: str


@dataclass(slots=True)
class Pass:
    """What a pass over tools did. ``failed`` has the tools of which a run failed, ``left_out`` those that had no turn."""

    runs: int = 0
    failed: set[str] = None  # type: ignore[assignment]  # filled below
    left_out: set[str] = None  # type: ignore[assignment]  # filled below
