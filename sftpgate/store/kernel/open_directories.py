"""Open directories, kept for the next use, so that an act on a file is not preceded by opening each directory on the way.

A kept directory is used again only if it still is what its path leads to: each component is looked at, without
following links, and compared with what was opened. So a directory that somebody moved, removed or replaced by a link is
never written to by mistake. What is kept is a cache of nothing else; it is bounded, and any thread may use it.

Within ``at_a_stretch``, for a few acts of one thread that follow each other at once, a directory is looked at once: what
somebody does to it meanwhile could as well have come between the look and the act.

Within ``holding_roots`` a thread stays with the roots that it found first: an empty directory in the place of a store that
went away gets nothing of a change that looked whose store it was when it began.

Nothing here changes the disk. Blocks for a look at each component, and for opening what is not kept.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sftpgate.store.disk_paths import DiskPath

LIMIT = 128  # descriptors kept in a process: far below the usual limit of 1024, above the directories of a busy minute

_Key = TypeVar("_Key", str, Path)
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class OpenDirectory:
    """A directory with its descriptor, which is closed when nobody uses or keeps the object any more. For a ``with`` block it
    is the descriptor.

    A filesystem that was unmounted and mounted again has the same numbers, and what was opened before still belongs to the mount
    that is gone: a confined process may do nothing there. So a refusal lets ``keeper`` open everything anew.
    """

    __slots__ = ("below", "fd", "identity", "keeper")

    def __init__(self, fd: int, keeper: Directories) -> None:
        status = os.fstat(fd)
        self.fd = fd
        self.keeper = weakref.ref(keeper)  # a circle would leave descriptors open until somebody collects it
        self.identity = status.st_dev, status.st_ino
        self.below: dict[str, OpenDirectory] = {}

    def __del__(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        if isinstance(error, PermissionError) and (keeper := self.keeper()) is not None:
            keeper.forget()


_Seen = dict[tuple[Path, str], OpenDirectory]  # by root, and path in it


class _Stretch(threading.local):
    """What a thread has looked at, and the roots that it stays with; None outside of such a block."""

    seen: _Seen | None = None
    roots: dict[Path, OpenDirectory] | None = None


class Directories:
    """The directories that are kept open. One instance per disk."""

    def __init__(self) -> None:
        self._roots: dict[Path, OpenDirectory] = {}
        self._kept = 0
        self._stretch = _Stretch()

    @contextmanager
    def at_a_stretch(self) -> Iterator[None]:
        """Look at each directory once in the block, which renames no directories."""
        before = self._stretch.seen
        self._stretch.seen = {}
        try:
            yield
        finally:
            self._stretch.seen = before

    @contextmanager
    def holding_roots(self) -> Iterator[None]:
        """Stay with the roots that are found first in the block; a block within another one has those of the outer one."""
        before = self._stretch.roots
        if before is None:
            seen = self._stretch.seen or {}
            self._stretch.roots = {root: found for (root, path), found in seen.items() if not path}
        try:
            yield
        finally:
            self._stretch.roots = before

    def open(self, disk_path: DiskPath) -> OpenDirectory:
        """Return the directory ``disk_path``, reached without following links below its root. Raises OSError."""
        seen = self._stretch.seen
        try:
            return self._reach({} if seen is None else seen, disk_path.root, disk_path.path)
        except PermissionError:
            self.forget()
            return self._reach({}, disk_path.root, disk_path.path)

    def _reach(self, seen: _Seen, root: Path, path: str) -> OpenDirectory:
        found = seen.get((root, path))
        if found is None:
            if path:
                top, _, name = path.rpartition("/")
                found = self._below(self._reach(seen, root, top), name)
            else:
                found = self._root(root)
            seen[root, path] = found
        return found

    def _root(self, root: Path) -> OpenDirectory:
        held = self._stretch.roots
        if held is None:
            return self._root_now(root)
        if root not in held:
            held[root] = self._root_now(root)
        return held[root]

    def _root_now(self, root: Path) -> OpenDirectory:
        kept = self._roots.get(root)
        if kept is not None and _is(kept, os.stat(root)):  # noqa: PTH116  # pathlib takes twice as long
            return kept
        found = OpenDirectory(os.open(root, _FLAGS), self)
        self._keep(self._roots, root, found)
        return found

    def changed(self) -> None:
        """Look at all of them again: a directory was made or removed."""
        if self._stretch.seen:
            self._stretch.seen.clear()

    def forget(self) -> None:
        """Keep nothing: what is in use is closed after its use."""
        self._roots.clear()
        if self._stretch.roots:
            self._stretch.roots.clear()
        self._kept = 0

    def _below(self, directory: OpenDirectory, name: str) -> OpenDirectory:
        kept = directory.below.get(name)
        if kept is not None and _is(kept, os.stat(name, dir_fd=directory.fd, follow_symlinks=False)):
            return kept
        found = OpenDirectory(os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=directory.fd), self)
        self._keep(directory.below, name, found)
        return found

    def _keep(self, among: dict[_Key, OpenDirectory], name: _Key, found: OpenDirectory) -> None:
        if self._kept >= LIMIT:
            self.forget()
        else:
            among[name] = found
            self._kept += 1


@contextmanager
def listed(directory: int) -> Iterator[int]:
    """Yield a descriptor of an open directory for one listing. Whoever shares a descriptor shares its position in the directory
    too, and two listings of it at a time would each miss names.
    """
    fd = os.open(".", _FLAGS, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def _is(directory: OpenDirectory, status: os.stat_result) -> bool:
    """Return whether what was opened is what is there. No other file can have its number while it is open."""
    return directory.identity == (status.st_dev, status.st_ino)
