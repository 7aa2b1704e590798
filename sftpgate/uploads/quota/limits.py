"""Room for uploads: what one user may send, and how much space the disk must keep free.

What is pending and what was sent today is asked of the ledger and the staging directory, so it is the same for all worker
processes and after a restart. Blocks for a query, a listing and a few system calls, at most. While a user is far from its limits
the answer holds for a second, and for this process's part of half as many uploads as are left; what its uploads of this process
write is charged to it meanwhile. The quotas themselves are read each time, so that a change of them holds for the next upload.

**How far a limit can be passed:** not at all by the uploads of one process. Those of other worker processes are seen when the
next upload is opened (within a second at the latest), and after each 64 MiB of an open one
(``gateway/sftp/handles.py``): so no worker but the first goes more than that beyond a limit with each of its open uploads. The
number of files can pass its limit by those that are opened at the very same moment. What is finished is counted exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from sftpgate.errors import NoSpace
from sftpgate.ids import Clock
from sftpgate.ledger import arrivals, volumes
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.quotas import Budget, Quotas, Usage, day_of, require_room
from sftpgate.store.disk import Disk
from sftpgate.uploads.quota.directory_counts import DirectoryCounts
from sftpgate.uploads.staging import Staging
from sftpgate.uploads.upload import Upload

_HOLDS_FOR = timedelta(seconds=1)


@dataclass(slots=True)
class _Answer:
    quotas: Quotas
    until: datetime
    uploads_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """What a user may still send: by its limits or by the disk, whichever is less."""

    free_bytes: int
    total_bytes: int
    free_files: int
    total_files: int


class UploadLimits:
    """Asked before an upload is opened, and now and then while it is written. One instance per process; any thread."""

    def __init__(
        self,
        ledger: Ledger,
        staging: Staging,
        disk: Disk,
        store: Path,
        quotas_of: Callable[[str], Quotas],
        *,
        directories: DirectoryCounts,
        free_space_floor: int,
        processes: int,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._staging = staging
        self._disk = disk
        self._store = store
        self._quotas_of = quotas_of
        self._directories = directories
        self._free_space_floor = free_space_floor
        self._parts = 2 * processes  # two for each: after a reload there are as many again, until the old ones' clients leave
        self._clock = clock
        self._answers: dict[str, _Answer] = {}
        self._budgets: dict[str, Budget] = {}  # one for each user, shared by its open uploads

    def require(self, user: str) -> tuple[Quotas, Budget]:
        """Return the quotas of ``user``, and what they leave to it. Raises QuotaExceeded or NoSpace if it may not begin an
        upload.
        """
        self.require_free_space()
        quotas = self._quotas_of(user)
        budget = self._budgets.setdefault(user, Budget(0, None))
        answer = self._answers.get(user)
        if answer is not None and self._holds(answer, quotas) and budget.bytes > quotas.max_upload_bytes:
            answer.uploads_left -= 1
            return quotas, budget
        usage = self._usage(user, quotas)
        require_room(quotas, usage)
        budget.measured(quotas, usage)
        uploads = (quotas.max_pending_files - usage.files) // self._parts
        self._answers[user] = _Answer(quotas, self._clock() + _HOLDS_FOR, uploads)
        return quotas, budget

    def _holds(self, answer: _Answer, quotas: Quotas) -> bool:
        is_fresh = timedelta(0) < answer.until - self._clock() <= _HOLDS_FOR  # nor after the clock was set back
        return answer.uploads_left > 0 and is_fresh and answer.quotas == quotas

    def look_again(self, upload: Upload) -> None:
        """Bound an open upload by the quotas as they are now, and by what other processes have taken meanwhile."""
        quotas = self._quotas_of(upload.sender.user)
        upload.bound(replace(upload.bounds, max_bytes=quotas.max_upload_bytes))
        if upload.bounds.budget is not None:
            upload.bounds.budget.measured(quotas, self._usage(upload.sender.user, quotas))

    def require_today(self, user: str, size: int) -> None:
        """Raise QuotaExceeded if an arrival of this size would pass the limit of the day."""
        quotas = self._quotas_of(user)
        if quotas.max_daily_bytes:
            budget = Budget(0, None)
            budget.measured(quotas, self._usage(user, quotas))
            budget.require(size, replaced_bytes=quotas.max_pending_bytes)

    def require_directory(self, user: str, path: str, growth: int = 1) -> None:
        """Raise QuotaExceeded if ``user`` may not make so many directories more, at ``path`` and below it."""
        self._directories.require(path, self._quotas_of(user).max_directories, growth)

    def require_moved_directories(self, user: str, old: str, new: str, count: int) -> None:
        """Check the same for directories that move from ``old`` to ``new``: they count where they lie."""
        if self._directories.part_of(old) != self._directories.part_of(new):
            self.require_directory(user, new, count)

    def quotas(self, user: str) -> Quotas:
        """Return the quotas of ``user``."""
        return self._quotas_of(user)

    def require_free_space(self, growth: int = 0) -> None:
        """Raise NoSpace if the disk is below its floor, or would be with ``growth`` bytes more."""
        if self._disk.free_bytes(self._store) - growth < self._free_space_floor:
            raise NoSpace(
                "the server has less free space than it keeps in reserve: nothing is taken until there is more. "
                "Try again later, or tell its administrator (rule: free_space_floor)"
            )

    def left(self, user: str) -> Remaining:
        """Return what ``user`` may still send."""
        quotas = self._quotas_of(user)
        usage = self._usage(user, quotas)
        budget = Budget(0, None)
        budget.measured(quotas, usage)
        on_disk = max(0, self._disk.free_bytes(self._store) - self._free_space_floor)
        return Remaining(
            free_bytes=min(on_disk, budget.bytes) if usage.files < quotas.max_pending_files else 0,
            total_bytes=min(quotas.max_pending_bytes, quotas.max_daily_bytes or quotas.max_pending_bytes),
            free_files=max(0, quotas.max_pending_files - usage.files),
            total_files=quotas.max_pending_files,
        )

    def _usage(self, user: str, quotas: Quotas) -> Usage:
        """Return what the user has pending, in staging too, and if its day is limited, what it has sent today."""
        staged_files, staged_bytes = self._staging.used(user)
        with self._ledger.reading() as connection:
            files, size = arrivals.usage(connection, user)
            sent = volumes.sent_on(connection, user, day_of(self._clock())) if quotas.max_daily_bytes else 0
        return Usage(files=files + staged_files, bytes=size + staged_bytes, daily_bytes=sent + staged_bytes)
