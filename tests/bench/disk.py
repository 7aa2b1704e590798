"""What the disk takes for the pieces of a small file's hand-over: what no server can do without that does the same."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.bench.scratch import SMALL_BYTES
from tests.bench.series import timed

_TIMES = 300
_CONTENT = bytes(SMALL_BYTES)


def costs(directory: Path) -> dict[str, float]:
    """Seconds for each, by what is done. ``directory`` is made."""
    directory.mkdir()
    with closing(sqlite3.connect(directory / "ledger.db", isolation_level=None)) as ledger:
        ledger.execute("PRAGMA journal_mode=WAL")
        ledger.execute("PRAGMA synchronous=FULL")
        ledger.execute("CREATE TABLE files (name TEXT)")

        def create(number: int) -> None:
            (directory / f"{number}").touch()

        def flush(number: int) -> None:
            fd = os.open(directory / f"{number}", os.O_WRONLY)
            os.write(fd, _CONTENT)
            os.fdatasync(fd)
            os.close(fd)

        def commit(number: int) -> None:
            ledger.execute("INSERT INTO files VALUES (?)", (f"{number}",))

        return {
            "creating a file": _each(create),
            "flushing a file of 4 KiB": _each(flush),
            "a commit of SQLite": _each(commit),
        }


def _each(act: Callable[[int], None]) -> float:
    def work() -> None:
        for number in range(_TIMES):
            act(number)

    return timed(work) / _TIMES
