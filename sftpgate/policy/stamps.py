"""The stamped names of archives, reports and rejected lines: conventions of the system that users' scripts rely on.

Pure: the time comes in as an argument, in the local time zone of the server. Two things of the same name in the same
minute (or in the hour that comes twice in autumn) get a number before the suffix: ``20260102-0304_enrols-2.csv``. The
stock tool deletes the earlier one; we never do.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sftpgate.policy.names import MAX_NAME_BYTES

_STAMP = "%Y%m%d-%H%M"


def archive_names(name: str, at: datetime) -> Iterator[str]:
    """Names under which ``name`` may be archived at the local time ``at``, best first, without end."""
    return _numbered(f"{at:{_STAMP}}_", name)


def report_names(name: str, at: datetime) -> Iterator[str]:
    """Names for the execution report of ``name``, best first, without end."""
    return _numbered(f"{at:{_STAMP}}_report_", name)


def tryback_names(name: str, at: datetime) -> Iterator[str]:
    """Names for the rejected lines of ``name``, best first, without end."""
    stem, suffix = split_suffix(name)
    return _numbered("", f"{stem}_tryback_{at:{_STAMP}}{suffix}")


def split_suffix(name: str) -> tuple[str, str]:
    """Stem and suffix; the suffix has its dot, and is empty where there is none."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def _numbered(prefix: str, name: str) -> Iterator[str]:
    stem, suffix = split_suffix(name)
    number = 1
    while True:
        tail = suffix if number == 1 else f"-{number}{suffix}"
        yield prefix + _shortened(stem, MAX_NAME_BYTES - len(prefix) - len(tail.encode())) + tail
        number += 1


def _shortened(stem: str, max_bytes: int) -> str:
    """``stem`` cut so that the stamped name still fits the filesystem: the stamp and the suffix are what people search for."""
    return stem.encode()[: max(max_bytes, 1)].decode("utf-8", "ignore")
