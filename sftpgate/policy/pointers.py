"""What a tool is pointed at, and which tool a file of the store is for.

Pure. A tool is pointed at names or patterns in the store; a pattern has ``*`` and ``?``, which do not match ``/``. The first
tool whose pattern fits has the file, also while it is disabled: its files wait for it.

Cron asks once a minute whether there is anything to do, and imports this module to know: so it imports next to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A tool and what it is pointed at. ``queued``: every arrival counts, in order; otherwise the latest one does."""

    tool: str
    files: tuple[str, ...]
    queued: bool

    def fits(self, path: str) -> bool:
        """Return whether the file at ``path`` (relative to the store) is for this tool."""
        return any(matches(pattern, path) for pattern in self.files)


def is_pattern(file: str) -> bool:
    """Return True for a pattern, False for the name of one file."""
    return "*" in file or "?" in file


def matches(pattern: str, path: str) -> bool:
    """Return whether ``path`` fits ``pattern``."""
    return _compiled(pattern).fullmatch(path) is not None


def paths_that_fit(file: str, names_in: Callable[[str, str, bool], Iterable[str]]) -> Iterator[str]:
    """Yield the paths in the store that a name or pattern fits, directory by directory.

    ``names_in(directory, part, is_last)`` looks: it returns the names in ``directory`` that ``part`` of the pattern fits: of
    files if it is the last part, else of directories. Paths are relative; the store itself is empty.
    """
    directories = [""]
    *above, last = file.split("/")
    for part in above:
        directories = [f"{base}/{name}" if base else name for base in directories for name in names_in(base, part, False)]
    for base in directories:
        for name in names_in(base, last, True):
            yield f"{base}/{name}" if base else name


def is_queued(path: str, pointers: Sequence[Pointer]) -> bool:
    """Return whether arrivals at ``path`` wait for each other instead of replacing each other."""
    return any(pointer.queued for pointer in pointers if pointer.fits(path))


def tool_for(path: str, pointers: Sequence[Pointer]) -> str | None:
    """Return the tool that the file at ``path`` is for, or None."""
    return next((pointer.tool for pointer in pointers if pointer.fits(path)), None)


@dataclass(frozen=True, slots=True)
class Reassigned:
    """A file that is for another tool than before. None: for none."""

    path: str
    before: str | None
    after: str | None


def reassigned(paths: Iterable[str], before: Sequence[Pointer], after: Sequence[Pointer]) -> list[Reassigned]:
    """Return those of the paths that are for another tool when the tools are pointed elsewhere, each once, sorted."""
    changes = [Reassigned(path, tool_for(path, before), tool_for(path, after)) for path in sorted(set(paths))]
    return [change for change in changes if change.before != change.after]


def tools_into(directory: str, pointers: Sequence[Pointer]) -> list[str]:
    """Return the tools that are pointed at a file in ``directory``, or deeper: without it they would get nothing."""
    parts = directory.split("/")

    def leads_into(file: str) -> bool:
        above = file.split("/")[:-1]
        return len(parts) <= len(above) and all(matches(pattern, part) for pattern, part in zip(above, parts, strict=False))

    return [pointer.tool for pointer in pointers if any(leads_into(file) for file in pointer.files)]


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(parts.get(c, re.escape(c)) for c in pattern), re.DOTALL)
