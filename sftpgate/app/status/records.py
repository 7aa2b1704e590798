"""What the state of a gate is made of. Times are aware, sizes are in bytes, paths are as they are: who shows them quotes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sftpgate.app.expectations.overview import Expected
from sftpgate.ledger.overview import OpenClaim
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.upkeep.sweep import SweepResult
from sftpgate.users.expiry import Expiry


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStatus:
    """A tool: what waits for it, and how its last run ended; ``outcome`` is "running" while one lasts."""

    tool: str
    files: Sequence[str]
    enabled: bool
    waiting: int
    size_bytes: int
    oldest_at: datetime | None
    last_run_at: datetime | None
    last_run_ended_at: datetime | None
    outcome: str | None
    exit_status: int | None
    report: str | None
    tried_again_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingFiles:
    """The arrivals of one path that wait, and the tool that takes them; None if none does."""

    path: str
    state: ArrivalState
    count: int
    size_bytes: int
    oldest_at: datetime
    tool: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnclaimedFiles:
    """What waits under a name that no tool has."""

    path: str
    count: int
    oldest_at: datetime
    what_to_do: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftFile:
    """A file that lies in the drop and that no sweep takes."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCount:
    """How many files are held for one reason; "quarantine" for those in quarantine."""

    reason: str
    count: int
    size_bytes: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldArrival:
    """A file that is held, or in quarantine, where it has no reason, and what somebody should do about it."""

    id: str
    path: str
    owner: str
    size_bytes: int
    received_at: datetime
    reason: HoldReason | None
    detail: str | None
    attempts: int
    what_to_do: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """An upload that is interrupted, or under way for a while."""

    user: str
    path: str
    size_bytes: int
    last_write_at: datetime
    upload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSweep:
    """The last sweep: when it began, and what it did."""

    at: datetime
    result: SweepResult


@dataclass(frozen=True, slots=True, kw_only=True)
class GateStatus:
    """The state of a gate. ``notes``: in sentences, what somebody should know that no section has."""

    directory: str
    tools: Sequence[ToolStatus] = ()
    waiting: Sequence[WaitingFiles] = ()
    without_tool: Sequence[UnclaimedFiles] = ()
    left: Sequence[LeftFile] = ()
    held_counts: Sequence[HeldCount] = ()
    held: Sequence[HeldArrival] = ()
    quarantined: Sequence[HeldArrival] = ()
    claims: Sequence[OpenClaim] = ()
    uploads: Sequence[UnfinishedUpload] = ()
    last_sweep: LastSweep | None = None
    expected: Sequence[Expected] = ()
    expiring: Sequence[Expiry] = ()
    notes: Sequence[str] = ()
