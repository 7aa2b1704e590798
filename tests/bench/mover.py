"""What a user would build instead: a program beside OpenSSH's server that takes what was uploaded into a store.

``python mover.py DROP STORE DATABASE``. It waits for inotify's "closed after writing", and makes a batch of all that has come
meanwhile: each file is hashed, flushed and renamed, the directories are flushed once, and one commit records the batch. Then
a line with the number of all files so far is printed. Its client has had its OK before any of that, an upload that
broke off is taken as well, and a file of the same name is replaced: it is fast, not safe. It runs until it is ended.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import sqlite3
import struct
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

_CREATED, _CLOSED, _IS_DIRECTORY = 0x100, 0x8, 0x40000000  # inotify(7)
_HEAD = struct.Struct("iIII")
_READ_BYTES = 1 << 20
_FLUSHERS = 4  # flushes at a time share the filesystem's journal


class Watch:
    """One inotify descriptor for a tree."""

    def __init__(self, top: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._directories: dict[int, Path] = {}
        self._found = list(self._add(top))

    def batch(self) -> list[Path]:
        """Wait for something; return the files that were closed after writing, each once."""
        found, self._found = self._found, []
        while not found:
            data, position = os.read(self._fd, _READ_BYTES), 0
            while position < len(data):
                number, mask, _, length = _HEAD.unpack_from(data, position)
                position += _HEAD.size
                name = data[position : position + length].rstrip(b"\0")
                position += length
                path = self._directories[number] / os.fsdecode(name)
                if mask & _CLOSED:
                    found.append(path)
                elif mask & _IS_DIRECTORY:
                    found.extend(self._add(path))
        return list(dict.fromkeys(found))

    def _add(self, directory: Path) -> Iterator[Path]:
        """Watch a directory; give what was finished in it before it was watched."""
        number = self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _CREATED | _CLOSED)
        if number < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(directory))
        self._directories[number] = directory
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                yield from self._add(directory / entry.name)
            elif not _is_written(entry.path):
                yield directory / entry.name


def _is_written(path: str) -> bool:
    """Whether somebody has the file open for writing: the kernel gives no lease on it then."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _hashed_and_flushed(path: Path) -> tuple[str, int] | None:
    """SHA-256 and bytes of a file, once it is on the disk; None if it is gone."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fdatasync(file.fileno())
        return digest, file.tell()
    return None


def _flush_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def main(drop: Path, store: Path, database: Path) -> None:
    """Move until ended."""
    watch, total, made = Watch(drop), 0, {store}
    with closing(sqlite3.connect(database, isolation_level=None)) as ledger, ThreadPoolExecutor(_FLUSHERS) as pool:
        ledger.execute("PRAGMA journal_mode=WAL")
        ledger.execute("PRAGMA synchronous=FULL")
        ledger.execute("CREATE TABLE files (path TEXT, bytes INTEGER, sha256 TEXT, at TEXT DEFAULT CURRENT_TIMESTAMP)")
        print(total, flush=True)
        while True:
            batch = watch.batch()
            rows, touched = [], set()
            each = pool.map(_hashed_and_flushed, batch) if len(batch) > 1 else map(_hashed_and_flushed, batch)
            for path, known in zip(batch, each, strict=True):
                if known is None:
                    continue
                target = store / path.relative_to(drop)
                if target.parent not in made:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    made.add(target.parent)
                path.rename(target)
                touched |= {path.parent, target.parent}
                rows.append((str(target), known[1], known[0]))
            for directory in touched:
                _flush_directory(directory)
            ledger.execute("BEGIN")
            ledger.executemany("INSERT INTO files (path, bytes, sha256) VALUES (?, ?, ?)", rows)
            ledger.execute("COMMIT")
            total += len(rows)
            print(total, flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
