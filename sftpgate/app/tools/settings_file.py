"""Edits of sftpgate.toml that keep its comments, its order and its owner.

The new text is validated before anything is written, and the file is replaced whole and durably: after a crash there is the old
one or the new one, and perhaps ``.sftpgate.toml.new``, which the next edit removes. Edits lock the file, so that two at a time do
not undo each other. Blocks.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable, Item, Table

from sftpgate.app.composition import name_rules
from sftpgate.errors import SettingsError, StorageError, UnknownTool
from sftpgate.policy.tools import check_tools
from sftpgate.settings import reading
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.kernel.open_files import try_lock

NEW_FILE_MODE = 0o640  # the environments of tools may have passwords


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """The settings before and after an edit."""

    path: Path
    before: Settings
    after: Settings


def edit(change: Callable[[str], str]) -> Edited:
    """Replace the settings file by what ``change`` makes of its text; a missing file is empty.

    Raises SettingsError if the result is not usable, StorageError if somebody else edits it; nothing is written then.
    """
    named = reading.config_path(os.environ) or Path(reading.DEFAULT_CONFIG_NAME)
    path = named.absolute().resolve()  # a link stays one: what it points to is replaced
    if path.exists():
        reading.read_text(named)  # what is no regular file, or cannot be read, is refused as such, and not waited for
    with _locked(path):
        old = reading.read_text(path) if path.exists() else ""
        before = reading.of_text(old, path)
        new = change(old)
        after = reading.of_text(new, path)
        check_tools(after.tools, name_rules(after))
        if new != old:
            _replace(path, new, after.store)
    return Edited(path=path, before=before, after=after)


def get_key(text: str, tool: str, key: str) -> object:
    """Return a key of a tool in ``text``, None if it is not there. Raises UnknownTool."""
    return _table(_parsed(text), tool).get(key)


def set_key(text: str, tool: str, key: str, value: object) -> str:
    """Return ``text`` with a key of a tool set. Raises UnknownTool."""
    document = _parsed(text)
    table = _table(document, tool)
    if key in table or isinstance(table, InlineTable) or "file" not in table:
        table[key] = value
    else:
        # right behind the file: at the end of the table stand the comments that belong to the next one
        item = cast("Item", table.value.item("file"))
        item.trivia.trail += f"{item.trivia.indent}{key} = {tomlkit.item(value).as_string()}\n"
    return tomlkit.dumps(document)


def _table(document: tomlkit.TOMLDocument, tool: str) -> Table | InlineTable:
    tools = document.get("tools", {})
    if tool not in tools:
        known = ", ".join(tools) or "none"
        raise UnknownTool(f"there is no tool {tool!r} in the settings (there: {known}; `sftpgate tool preset` prints ready ones)")
    return cast("Table | InlineTable", tools[tool])


def tools_in(text: str) -> list[str]:
    """Return the names of the tools in a text."""
    return list(_parsed(text).get("tools", {}))


def _parsed(text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise SettingsError(f"not valid TOML: {error}") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file for the block; a file that is not there needs none."""
    disk, disk_path = Disk(), DiskPath(path.parent, path.name)
    if not path.exists():
        yield
        return
    fd = disk.open_read(disk_path)
    try:
        if not try_lock(fd) or not os.fstat(fd).st_nlink:
            raise StorageError(f"{path}: somebody else is changing it at this moment; try again")
        yield
    finally:
        os.close(fd)


def owner_of_new(path: Path, store: Path) -> tuple[int, int]:
    """Return owner and group of a settings file that root makes: those to whom it must be readable, and nobody else.

    The owner is whoever may replace it anyway, because the directory is theirs. The group is the main one of the store's owner,
    as which sftpgate runs. If there is no store yet, both are the directory's.
    """
    directory = path.parent.stat()
    if not store.is_dir():
        return directory.st_uid, directory.st_gid
    owner = store.stat()
    try:
        return directory.st_uid, pwd.getpwuid(owner.st_uid).pw_gid
    except KeyError:
        return directory.st_uid, owner.st_gid


def _replace(path: Path, text: str, store: Path) -> None:
    disk, disk_path = Disk(), DiskPath(path.parent, path.name)
    fresh = DiskPath(path.parent, f".{path.name}.new")
    old = path.stat() if path.exists() else None
    disk.unlink(fresh, missing_ok=True)
    fd = disk.create(fresh, 0o600)
    try:
        owner = (old.st_uid, old.st_gid) if old else owner_of_new(path, store) if os.geteuid() == 0 else None
        if owner is not None and owner != (os.geteuid(), os.getegid()):
            with contextlib.suppress(PermissionError):  # only root may give files away
                os.fchown(fd, *owner)
        disk.set_mode(fd, stat.S_IMODE(old.st_mode) if old else NEW_FILE_MODE, None)
        disk.write(fd, 0, text.encode())
        disk.sync(fd)
    finally:
        os.close(fd)
    disk.rename(fresh, disk_path)
    disk.sync_dirs([disk_path.parent])
