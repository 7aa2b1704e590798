"""Open files: their locks, who else has them open, and copying from one to another. Everything but ``try_lock`` without
``wait`` and ``has_writer`` may block.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from sftpgate.store.disk_paths import translate

_COPY_CHUNK_BYTES = 8 * 1024 * 1024


def try_lock(fd: int, *, wait: bool = False) -> bool:
    """Lock the open file for as long as the descriptor lives. False if somebody else has the lock and ``wait`` is false."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        raise translate(error, "lock") from error
    return True


def has_writer(fd: int) -> bool:
    """Return whether somebody has the file open for writing, as far as the kernel tells: it grants a read lease only if nobody
    has (fcntl(2)).
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # not our file, or a filesystem without leases
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def in_memory(content: bytes, mtime_ns: int) -> int:
    """Return a descriptor of a file that has no name and no disk, with this content and time, for reading."""
    fd = os.memfd_create("sftpgate", os.MFD_CLOEXEC)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.utime(fd, ns=(mtime_ns, mtime_ns))
    except OSError as error:
        os.close(fd)
        raise translate(error, "make a file in memory") from error
    return fd


def copy_bytes(source: int, target: int) -> None:
    """Append all of ``source`` to ``target``, in the kernel if the filesystems can."""
    offset = 0
    with contextlib.suppress(OSError):
        while done := os.copy_file_range(source, target, _COPY_CHUNK_BYTES, offset):
            offset += done
        return
    os.lseek(target, 0, os.SEEK_END)
    while chunk := os.pread(source, _COPY_CHUNK_BYTES, offset):
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]
        offset += len(chunk)
