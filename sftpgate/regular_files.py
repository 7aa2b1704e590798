"""Reading a file that an administrator keeps: settings, keys, units of systemd.

What lies at such a path may be anything: a pipe or device would be waited for, for ever, by whoever reads it, and a server reads
its settings and keys again while it works. Only a regular file is read, through links too, and no more of it than it may have.
"""
# ruff: noqa: PTH116, PTH123 - on descriptors, and asked for at every login

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotRegular(OSError):
    """There is something else than a regular file at the path; ``strerror`` says what."""


class FileTooLarge(OSError):
    """The file has more bytes than it may have; ``strerror`` says how many those are."""


_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the content of the regular file at ``path``; nothing else is opened. Raises OSError, NotRegular and TooLarge
    among them.
    """
    # the look comes first: to open a device can do something, and to open a pipe waits for whoever writes into it
    _require_regular(os.stat(path), path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(fd, "rb") as file:
        _require_regular(os.fstat(fd), path)  # it may have been exchanged in between
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise FileTooLarge(0, f"it is larger than {most_bytes} bytes", str(path))
    return data


def _require_regular(status: os.stat_result, path: Path) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise NotRegular(0, f"it is no regular file, but {_KINDS.get(kind, 'something else')}", str(path))
