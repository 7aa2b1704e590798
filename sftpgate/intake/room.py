"""Room for uploads: what one user may have pending, and how much space the disk must keep free.

Blocks for a query and a system call, at most. The query is left out while a user is far from its limits: its answer
holds for a second, and for half as many uploads as are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sftpgate.errors import NoSpace, QuotaExceeded
from sftpgate.intake.ids import Clock
from sftpgate.intake.staging import Staging
from sftpgate.ledger import arrivals
from sftpgate.ledger.database import Ledger
from sftpgate.store.disk import Disk

_HOLDS_FOR = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings of the same names: bytes, and numbers of files, that no runner has claimed yet."""

    max_upload_bytes: int
    max_pending_bytes: int
    max_pending_files: int
    free_space_floor: int


@dataclass(slots=True)
class _Answer:
    until: datetime
    uploads_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a user may still send: by its limits or by the disk, whichever is less."""

    free_bytes: int
    total_bytes: int
    free_files: int
    total_files: int


class Room:
    """Asked before an upload is opened, and now and then while it is written. One instance per process; any thread."""

    def __init__(self, ledger: Ledger, staging: Staging, disk: Disk, store: Path, limits: Limits, clock: Clock) -> None:
        self._ledger = ledger
        self._staging = staging
        self._disk = disk
        self._store = store
        self._limits = limits
        self._clock = clock
        self._answers: dict[str, _Answer] = {}

    def require(self, user: str) -> int:
        """How many bytes another upload of ``user`` may have. Raises QuotaExceeded or NoSpace where it may not begin one."""
        self.require_free_space()
        answer = self._answers.get(user)
        if answer is not None and answer.uploads_left > 0 and self._clock() < answer.until:
            answer.uploads_left -= 1
            return self._limits.max_upload_bytes
        files, size = self._usage(user)
        limits = self._limits
        if files >= limits.max_pending_files:
            raise QuotaExceeded(_full(f"{files} files", limits.max_pending_files, "max_pending_files"))
        if size >= limits.max_pending_bytes:
            raise QuotaExceeded(_full(f"{size} bytes", limits.max_pending_bytes, "max_pending_bytes"))
        far = size + limits.max_upload_bytes < limits.max_pending_bytes
        self._answers[user] = _Answer(self._clock() + _HOLDS_FOR, (limits.max_pending_files - files) // 2 if far else 0)
        return limits.max_pending_bytes - size

    def require_free_space(self) -> None:
        """Raise NoSpace where the disk is below its floor."""
        if self._disk.free_bytes(self._store) < self._limits.free_space_floor:
            raise NoSpace()

    def left(self, user: str) -> Left:
        """What ``user`` may still send."""
        files, size = self._usage(user)
        limits = self._limits
        on_disk = max(0, self._disk.free_bytes(self._store) - limits.free_space_floor)
        return Left(
            free_bytes=min(on_disk, max(0, limits.max_pending_bytes - size)),
            total_bytes=limits.max_pending_bytes,
            free_files=max(0, limits.max_pending_files - files),
            total_files=limits.max_pending_files,
        )

    def _usage(self, user: str) -> tuple[int, int]:
        """Files and bytes of the user that no runner has taken, those in staging included."""
        staged_files, staged_bytes = self._staging.used(user)
        with self._ledger.reading() as connection:
            files, size = arrivals.usage(connection, user)
        return files + staged_files, size + staged_bytes


def _full(what: str, limit: int, rule: str) -> str:
    return f"{what} of this account wait to be processed, the limit is {limit} (rule: {rule})"
