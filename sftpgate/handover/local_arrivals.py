"""The record of a file that nobody sent: what all of those have in common, wherever they were found."""

from __future__ import annotations

import os
from datetime import datetime

from sftpgate.ids import new_id
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival, ArrivalId
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import ArrivalState


def local_arrival(path: str, status: os.stat_result, *, sha256: str, now: datetime, source: str) -> Arrival:
    """Return a new arrival without an owner and without a place: the caller knows where it is and what becomes of it."""
    return Arrival(
        id=ArrivalId(new_id(now)),
        owner=LOCAL_OWNER,
        path=path,
        state=ArrivalState.IGNORED,
        size=status.st_size,
        sha256=sha256,
        grade=Grade.PLAUSIBLE,
        location=None,
        inode=status.st_ino,
        mtime_ns=status.st_mtime_ns,
        received_at=now,
        changed_at=now,
        source=source,
    )
