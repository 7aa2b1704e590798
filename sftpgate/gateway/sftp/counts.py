"""What one session has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SessionCounts:
    """The last log line of a session has it."""

    requests: int = 0
    uploads: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
