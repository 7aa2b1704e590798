"""Locks that live as long as a process: how the death of a runner is noticed at once on its own host (promise P4).

An ``flock`` belongs to the open file, and a child that inherits the descriptor holds it too: so a claim's lock is held until the
runner *and* the last process of its command are gone, and no second command starts on a file that the first one still reads.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sftpgate.errors import AlreadyExists, NoSuchFile
from sftpgate.policy.runs import Host
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.kernel.open_files import try_lock

_STARTTIME = 19  # proc(5): the 22nd field, of which two are before the name's end


def acquire(disk: Disk, disk_path: DiskPath) -> int | None:
    """Return a descriptor that holds the lock of a file, made if it is missing; None if somebody else has the lock."""
    while True:
        fd = _open(disk, disk_path)
        if not try_lock(fd):
            os.close(fd)
            return None
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # its holder removed it between our open and our lock: that file guards nothing any more


def release(disk: Disk, disk_path: DiskPath, fd: int) -> None:
    """Remove the lock's file, then let go of it: in the other order somebody could have it in between."""
    try:
        disk.unlink(disk_path, missing_ok=True)
    finally:
        os.close(fd)


@contextlib.contextmanager
def held(disk: Disk, disk_path: DiskPath) -> Iterator[bool]:
    """Hold a lock for the block, and leave its file. Yields False, without the lock, if somebody else has it."""
    fd = acquire(disk, disk_path)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)


@cache
def this_host() -> Host:
    """Return the machine that we are on, in its present boot."""
    name = socket.gethostname().replace("/", "-")
    return Host(name, _first_line("/etc/machine-id"), _first_line("/proc/sys/kernel/random/boot_id"), _process_namespace())


def start_of(pid: int) -> int:
    """Return when the process ``pid`` was started, in ticks since the machine was: with its id, this names a process. 0 if
    it does not run or cannot be looked at. No clock that somebody could set is asked.
    """
    try:
        return _stat(pid)[1]
    except OSError:
        return 0


def is_alive(pid: int, started: int) -> bool:
    """Return whether the process ``pid`` that was started at ``started`` (``start_of``; 0: not known) still runs: ids are
    given again.

    A zombie does not run. One that we may not look at does: whoever asks has a lease to go by too.
    """
    try:
        state, found = _stat(pid)
    except PermissionError:
        return True
    except OSError:
        return False
    return state not in ("Z", "X") and started in (0, found)


def _stat(pid: int) -> tuple[str, int]:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[_STARTTIME])


def _open(disk: Disk, disk_path: DiskPath) -> int:
    while True:
        try:
            return disk.open_write(disk_path)
        except NoSuchFile:
            with contextlib.suppress(AlreadyExists):
                return disk.create(disk_path, 0o600)


def _process_namespace() -> str:
    try:
        return Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return ""


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
