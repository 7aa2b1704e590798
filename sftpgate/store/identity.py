"""The id that store and drop carry, and the store's seal: small files of ours, durable when they are written.

An id is written once and never changed in place; looking whether it is still there costs one system call, because the
file is known by its number and its change time. Everything blocks, for a look at most if nothing changed.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field

from sftpgate.errors import NoSuchFile, SftpgateError
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath

_LIMIT_BYTES = 4096
RESTORING = "restoring"  # the name of a file of ours that is there while a backup is being brought back
_KEY = "gate"

_Known = tuple[int, int, int]


def read_id(disk: Disk, disk_path: DiskPath) -> str | None:
    """Return the id in the file ``disk_path``; None if it is not there or says nothing. Raises StorageError."""
    try:
        found = json.loads(disk.read_small(disk_path, _LIMIT_BYTES))
    except (NoSuchFile, ValueError):
        return None
    value = found.get(_KEY) if isinstance(found, dict) else None
    return value if isinstance(value, str) and value else None


def write_id(disk: Disk, disk_path: DiskPath, value: str, mode: int = 0o644) -> None:
    """Put the id in place, durable."""
    _write_durably(disk, disk_path, {_KEY: value}, mode)


def read_seal(disk: Disk, disk_path: DiskPath) -> tuple[int, ...]:
    """Return the numbers that the ledger may have: one, two if a new seal was being set, none if there is no seal."""
    try:
        found = json.loads(disk.read_small(disk_path, _LIMIT_BYTES))
        return tuple(int(number) for number in found["seal"])
    except (NoSuchFile, ValueError, TypeError, KeyError):
        return ()


def write_seal(disk: Disk, disk_path: DiskPath, *numbers: int) -> None:
    """Put the seal in place, durable."""
    _write_durably(disk, disk_path, {"seal": numbers}, 0o600)


def _write_durably(disk: Disk, disk_path: DiskPath, content: object, mode: int) -> None:
    fresh = disk_path.parent / f"{disk_path.name}.new"
    disk.unlink(fresh, missing_ok=True)
    fd = disk.create(fresh, mode)
    try:
        disk.write(fd, 0, json.dumps(content).encode() + b"\n")
        disk.set_mode(fd, mode, None)
        disk.sync(fd)
    finally:
        os.close(fd)
    disk.rename(fresh, disk_path)
    disk.sync_dirs([disk_path.parent])


@dataclass(slots=True)
class Mark:
    """One file with an id, looked at again and again."""

    disk: Disk
    disk_path: DiskPath
    _root: DiskPath = field(init=False)
    _known: _Known | None = None
    _value: str | None = None

    def __post_init__(self) -> None:
        self._root = DiskPath(self.disk_path.root, "")

    def has(self, value: str) -> bool:
        """Return whether the file has the id ``value`` now, below the root that this thread stays with. What cannot be read has
        none: a disk that is going away says anything.
        """
        try:
            with self.disk.directory(self._root) as root:
                status = os.stat(self.disk_path.path, dir_fd=root, follow_symlinks=False)  # pathlib takes twice as long
        except (OSError, SftpgateError):
            self._known = None
            return False
        known = status.st_dev, status.st_ino, status.st_ctime_ns
        if known != self._known:
            self._value = None
            with contextlib.suppress(SftpgateError):
                self._value = read_id(self.disk, self.disk_path)
            self._known = known
        return self._value == value
