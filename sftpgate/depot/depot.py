"""The local file manager's view of the store: what is there, for people of this machine.

It shows all but our own directory: the files that runners read, as their owners and the admin organise them, and
``archives`` and ``reports``, which are readable and never writable here (promise P6). Symbolic links are shown and
never followed. Names that are not UTF-8 come with surrogates, can be read and removed, and never be given.

This module looks and decides what a path means; it changes nothing. What a change of a name means for an arrival is
decided in ``depot/deposits.py``. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NewType

from sftpgate.errors import NameRefused, NoSuchFile, NotADirectory, PlaceRefused
from sftpgate.hidden_names import MANAGED_NAME
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.managed import RESERVED_NAMES, in_words, is_reserved
from sftpgate.policy.names import check_storable, is_managed, join, split
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, Entry
from sftpgate.store.layout import Layout

DepotPath = NewType("DepotPath", str)  # relative to the store, in normal form, empty for the store itself


def depot_path(text: str) -> DepotPath:
    """Return what a person means by ``text``: a leading ``/`` is the store itself, dots are resolved on the text and never lead
    above it.
    """
    if "\0" in text:
        raise NameRefused("the name contains a NUL character (rule: no control characters in names)")
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return DepotPath("/".join(parts))


def is_utf8(path: str) -> bool:
    """Return whether a name on disk is text, as all names in the ledger are; others have surrogates."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_readonly(path: str) -> bool:
    """Return whether ``path`` is one of the managed directories, in any letter case, or in one."""
    return is_reserved(path.partition("/")[0])


def require_writable(path: DepotPath) -> DepotPath:
    """Return ``path``, if a file or directory may be put, renamed or removed. Raises PlaceRefused with the rule otherwise."""
    if not path:
        raise PlaceRefused("the store itself cannot be changed or replaced, only what is in it (rule: the store stays)")
    if is_readonly(path):
        top = split(path)[0]
        raise PlaceRefused(f"{top} is read-only here: {in_words()} are kept by sftpgate itself (rule: {in_words()} are managed)")
    if any(is_managed(part) for part in split(path)):
        raise PlaceRefused(f"names that begin with {MANAGED_NAME} are the system's own (rule: reserved names)")
    return path


def require_storable(path: DepotPath) -> DepotPath:
    """Return ``path``, if it may be given to something new. Raises PlaceRefused or NameRefused with the rule otherwise."""
    require_writable(path)
    if not is_utf8(path):
        raise NameRefused("the name is not valid UTF-8 (rule: names are UTF-8)")
    check_storable(path)
    return path


class Depot:
    """Looks at what is in the store."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk

    def disk_path(self, path: DepotPath) -> DiskPath:
        """Return the place on disk of a path."""
        return DiskPath(self._layout.root(Area.STORE), path)

    def find(self, path: DepotPath) -> Entry | None:
        """Return what is at ``path``, or None; our own directory is never there."""
        if any(is_managed(part) for part in split(path)):
            return None
        try:
            status = self._disk.lstat(self.disk_path(path))
        except NameRefused:
            return None  # too long for any file to have it
        return None if status is None else Entry(path.rpartition("/")[2], status)

    def require(self, path: DepotPath) -> Entry:
        """Return what is at ``path``. Raises NoSuchFile."""
        found = self.find(path)
        if found is None:
            raise NoSuchFile("no such file or directory in the store")
        return found

    def is_dir(self, path: DepotPath) -> bool:
        """Return whether a directory is at ``path``."""
        found = self.find(path)
        return found is not None and found.is_dir

    def entries(self, path: DepotPath) -> list[Entry]:
        """Return what is in a directory, by name. Raises NoSuchFile or NotADirectory."""
        if not self.require(path).is_dir:
            raise NotADirectory("this is a file, not a directory")
        return sorted(
            (entry for entry in self._disk.entries(self.disk_path(path)) if not is_managed(entry.name)),
            key=lambda entry: entry.name,
        )

    def walk(self, path: DepotPath) -> Iterator[tuple[DepotPath, Entry]]:
        """Yield everything below a directory, each directory before what is in it; ``archives`` and ``reports`` are not entered
        from above.
        """
        for entry in self.entries(path):
            below = DepotPath(join(path, entry.name))
            yield below, entry
            if entry.is_dir and below not in RESERVED_NAMES:
                try:
                    yield from self.walk(below)
                except NoSuchFile:
                    continue  # removed while we walk

    def count(self, path: DepotPath) -> int:
        """Return how many names a directory has."""
        return len(self._disk.names(self.disk_path(path)))

    def open_read(self, path: DepotPath) -> int:
        """Return a descriptor of the file at ``path``, for reading. Raises NoSuchFile or IsADirectory."""
        self.require(path)
        return self._disk.open_read(self.disk_path(path))
