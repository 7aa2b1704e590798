"""How many files the process may have open, and how its sessions share them.

A connection, the ledger and the directories need descriptors too, so handles get what those leave. If handles become
scarce, a session that has more than a few of them opens no more: those with few still can (promise P7: the refusal names
the rule). Nothing here blocks; the kernel forgets the limit with the process.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass

from sftpgate.errors import TooMany

RESERVED = 256  # for the ledger, directories, threads of the hand-over, and what libraries open
FEW = 16  # handles that a session has whatever others do: more than clients have that are not in a loop
WANTED = 8192  # below it the default of 2000 connections and a few thousand handles can run into it


def raise_limit() -> int:
    """Raise the limit of open files as far as an ordinary process may; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS and some containers state more than they grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft


@dataclass(slots=True)
class Descriptors:
    """What the handles of one process have between them. ``limit``: of open files; ``connections``: as many as may be."""

    limit: int
    connections: int
    used: int = 0  # counted by the sessions

    def require(self, mine: int) -> None:
        """Raise TooMany if a session that has ``mine`` may have no more."""
        budget = max(self.limit // 2, self.limit - self.connections - RESERVED)
        if self.used >= budget or (mine >= FEW and self.used >= budget // 2):
            raise TooMany("the server has too many files open: close some, or try again in a moment (rule: open files)")
