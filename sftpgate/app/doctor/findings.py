"""What the checks of ``sftpgate doctor`` find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a check saw, and what somebody should do about it."""

    level: Level
    check: str
    finding: str
    what_to_do: str = ""


Findings = Iterator[Finding]


def error(check: str, finding: str, what_to_do: str) -> Finding:
    """Make a finding of something with which the gate does not start, or does not keep a promise."""
    return Finding(level=Level.ERROR, check=check, finding=finding, what_to_do=what_to_do)


def warning(check: str, finding: str, what_to_do: str) -> Finding:
    """Make a finding of something that is likely to become an error, or is meant by somebody who knows why."""
    return Finding(level=Level.WARNING, check=check, finding=finding, what_to_do=what_to_do)
