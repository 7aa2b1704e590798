"""A look at a SQLite ledger without SQLAlchemy, for ``sftpgate run`` on its many passes with nothing to do.

Reads only; what it cannot read it says by IdleQueryFailed, and the caller looks the long way. Blocks for a few milliseconds.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

_TIMEOUT_SECONDS = 1.0
_MANY = 1000  # waiting paths: with more than that there is something to do, or time to look closely


class IdleQueryFailed(Exception):
    """The ledger cannot be read so."""


def waiting_paths(database: Path, files: Sequence[str]) -> list[str] | None:
    """Return the paths of the arrivals that wait and may fit one of these names and patterns (``policy.pointers``); None if an
    arrival is claimed, or if there are too many to say.

    Raises IdleQueryFailed.
    """
    fits = " OR ".join(["path GLOB ?"] * len(files)) or "0"
    globs = [file.replace("[", "[[]") for file in files]  # SQLite's * and ? match / too
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=_TIMEOUT_SECONDS)
        ) as connection:
            if connection.execute("SELECT 1 FROM arrivals WHERE state = 'claimed' LIMIT 1").fetchone():
                return None
            query = f"SELECT DISTINCT path FROM arrivals WHERE state = 'waiting' AND ({fits}) LIMIT {_MANY}"  # noqa: S608 - no value
            found = [path for (path,) in connection.execute(query, globs)]
    except sqlite3.Error as error:
        raise IdleQueryFailed(str(error)) from error
    return found if len(found) < _MANY else None
