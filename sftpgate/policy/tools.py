"""Which tool consumes which file.

Pure. A tool is pointed at names or patterns in the store; a pattern has ``*`` and ``?``, which do not match ``/``. The
first tool whose pattern fits has the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A tool and what it is pointed at. ``queued``: every arrival counts, in order; otherwise the latest one does."""

    tool: str
    files: tuple[str, ...]
    queued: bool

    def fits(self, path: str) -> bool:
        """Whether the file at ``path`` (relative to the store) is for this tool."""
        return any(matches(pattern, path) for pattern in self.files)


def is_pattern(file: str) -> bool:
    """True for a pattern, False for the name of one file."""
    return "*" in file or "?" in file


def matches(pattern: str, path: str) -> bool:
    """Whether ``path`` fits ``pattern``."""
    return _compiled(pattern).fullmatch(path) is not None


def is_queued(path: str, pointers: Sequence[Pointer]) -> bool:
    """Whether arrivals at ``path`` wait for each other instead of replacing each other."""
    return any(pointer.queued for pointer in pointers if pointer.fits(path))


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(parts.get(c, re.escape(c)) for c in pattern), re.DOTALL)
