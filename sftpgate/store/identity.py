"""The id that store and drop carry, and the store's seal: small files of ours, durable when they are written.

An id is written once and never changed in place; looking whether it is still there costs one system call, because the
file is known by its number and its change time. Everything blocks, for a look at most where nothing changed.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from sftpgate.errors import NoSuchFile, SftpgateError
from sftpgate.store.disk import Disk
from sftpgate.store.spots import Spot

_LIMIT_BYTES = 4096
_KEY = "gate"

_Known = tuple[int, int, int]


def read_id(disk: Disk, spot: Spot) -> str | None:
    """The id in the file ``spot``; None where it is not there or says nothing. Raises StorageError."""
    try:
        found = json.loads(disk.read_small(spot, _LIMIT_BYTES))
    except (NoSuchFile, ValueError):
        return None
    value = found.get(_KEY) if isinstance(found, dict) else None
    return value if isinstance(value, str) and value else None


def write_id(disk: Disk, spot: Spot, value: str, mode: int = 0o644) -> None:
    """Put the id in place, durable."""
    _write_durably(disk, spot, {_KEY: value}, mode)


def read_seal(disk: Disk, spot: Spot) -> tuple[int, ...]:
    """The numbers that the ledger may have: one, two where a new seal was being set, none where there is no seal."""
    try:
        found = json.loads(disk.read_small(spot, _LIMIT_BYTES))
        return tuple(int(number) for number in found["seal"])
    except (NoSuchFile, ValueError, TypeError, KeyError):
        return ()


def write_seal(disk: Disk, spot: Spot, *numbers: int) -> None:
    """Put the seal in place, durable."""
    _write_durably(disk, spot, {"seal": numbers}, 0o600)


def _write_durably(disk: Disk, spot: Spot, content: object, mode: int) -> None:
    fresh = spot.parent / f"{spot.name}.new"
    disk.unlink(fresh, missing_ok=True)
    fd = disk.create(fresh, mode)
    try:
        disk.write(fd, 0, json.dumps(content).encode() + b"\n")
        disk.set_mode(fd, mode, None)
        disk.sync(fd)
    finally:
        os.close(fd)
    disk.rename(fresh, spot)
    disk.sync_dirs([spot.parent])


@dataclass(slots=True)
class Mark:
    """One file with an id, looked at again and again."""

    disk: Disk
    spot: Spot
    _path: Path = field(init=False)
    _known: _Known | None = None
    _value: str | None = None

    def __post_init__(self) -> None:
        self._path = self.spot.local

    def has(self, value: str) -> bool:
        """Whether the file has the id ``value`` now. What cannot be read has none: a disk that is going away says anything."""
        try:
            status = os.lstat(self._path)  # pathlib takes twice as long
        except OSError:
            self._known = None
            return False
        known = status.st_dev, status.st_ino, status.st_ctime_ns
        if known != self._known:
            self._value = None
            with contextlib.suppress(SftpgateError):
                self._value = read_id(self.disk, self.spot)
            self._known = known
        return self._value == value
