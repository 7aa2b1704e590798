"""Open directories, kept for the next use, so that an act on a file is not preceded by opening each directory on the way.

A kept directory is used again only where it still is what its path leads to: each component is looked at, without
following links, and compared with what was opened. So a directory that somebody moved, removed or replaced by a link is
never written to by mistake. What is kept is a cache of nothing else; it is bounded, and any thread may use it.

Nothing here changes the disk. Blocks for a look at each component, and for opening what is not kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from sftpgate.store.spots import Spot

LIMIT = 128  # descriptors kept in a process: far below the usual limit of 1024, above the directories of a busy minute

_Key = TypeVar("_Key", str, Path)
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class OpenDirectory:
    """A directory with its descriptor, which is closed when nobody uses or keeps the object any more."""

    __slots__ = ("below", "fd", "identity")

    def __init__(self, fd: int) -> None:
        status = os.fstat(fd)
        self.fd = fd
        self.identity = status.st_dev, status.st_ino
        self.below: dict[str, OpenDirectory] = {}

    def __del__(self) -> None:
        os.close(self.fd)


class Directories:
    """The directories that are kept open. One instance per disk."""

    def __init__(self) -> None:
        self._roots: dict[Path, OpenDirectory] = {}
        self._kept = 0

    def open(self, spot: Spot) -> OpenDirectory:
        """The directory ``spot``, reached without following links below its root. Raises OSError."""
        root = spot.root
        found = self._roots.get(root)
        if found is None or not _is(found, root.stat()):
            found = OpenDirectory(os.open(root, _FLAGS))
            self._keep(self._roots, root, found)
        if spot.path:
            for name in spot.path.split("/"):
                found = self._below(found, name)
        return found

    def forget(self) -> None:
        """Keep nothing: what is in use is closed after its use."""
        self._roots.clear()
        self._kept = 0

    def _below(self, directory: OpenDirectory, name: str) -> OpenDirectory:
        kept = directory.below.get(name)
        if kept is not None and _is(kept, os.stat(name, dir_fd=directory.fd, follow_symlinks=False)):
            return kept
        found = OpenDirectory(os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=directory.fd))
        self._keep(directory.below, name, found)
        return found

    def _keep(self, among: dict[_Key, OpenDirectory], name: _Key, found: OpenDirectory) -> None:
        if self._kept >= LIMIT:
            self.forget()
        else:
            among[name] = found
            self._kept += 1


def _is(directory: OpenDirectory, status: os.stat_result) -> bool:
    """Whether what was opened is what is there. No other file can have its number while it is open."""
    return directory.identity == (status.st_dev, status.st_ino)
