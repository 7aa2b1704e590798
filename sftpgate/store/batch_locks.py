"""Where the batch lock of a home lies on disk, for those who look from outside of the server: status and monitor. Blocks for one
listing of the directory; changes nothing.
"""

from __future__ import annotations

from pathlib import Path

from sftpgate.policy.names import spellings


def batch_locks(drop: Path, home: str, name: str) -> list[Path]:
    """The batch locks that lie at the top of ``home``, in whatever letter case; none where the directory cannot be listed."""
    names = frozenset(spellings(name))
    try:
        return sorted(path for path in (drop / home).iterdir() if path.name in names)
    except OSError:
        return []
