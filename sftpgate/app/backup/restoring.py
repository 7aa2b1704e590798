"""Brings a backup back where no gate is (promises P2, P3 and P4).

Everything is looked at first: the backup, byte by byte, and that there is nothing in the way. Then a mark is put into the store
and the drop, with which no gate starts; contents, keys and the ledger are put in place; and the mark is taken away when all of it
is durable. The ledger is told that what waits has to be held: what was processed since the backup must not run again.

A kill leaves the mark, and the same command goes on where it was: what is there of this backup already is not written again.
Nothing else is overwritten, ever. Blocks.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sftpgate.app.audit import record_act
from sftpgate.app.backup.manifest import (
    CONTENTS,
    DROP,
    KEYS,
    LEDGER,
    SETTINGS,
    STORE,
    Kept,
    Manifest,
    is_inside,
    kept_files,
    problems,
    read_manifest,
    sha256_of_file,
)
from sftpgate.app.composition import build
from sftpgate.errors import LedgerError, Refused
from sftpgate.hidden_names import MANAGED_NAME
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.database import identity as records
from sftpgate.ledger.database import snapshots
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.database.schema import SCHEMA_VERSION
from sftpgate.settings.reading import CONFIG_VARIABLE, DEFAULT_CONFIG_NAME, config_path, load
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, translated
from sftpgate.store.identity import RESTORING

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What was put in place. ``settings``: the settings file, if it was missing and came from the backup."""

    made_at: str
    gate: str
    files: int
    content_bytes: int
    settings: Path | None


def check(directory: Path) -> Manifest:
    """Read all of a backup, and return what it is of. Raises Refused with what is damaged or missing."""
    manifest = read_manifest(directory)
    if manifest.schema != SCHEMA_VERSION:
        raise Refused(
            f"the backup was made by sftpgate {manifest.version}, with a ledger of version {manifest.schema}; this program's is "
            f"{SCHEMA_VERSION}: restore with the version that made it, then upgrade"
        )
    wrong = list(problems(directory, manifest))
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise Refused(f"the backup is damaged, and nothing was restored: {'; '.join(wrong[:3])}{more}")
    return manifest


def settings_for(directory: Path) -> tuple[Settings, Path | None]:
    """Return the settings by which a backup is brought back: those of this place, or, if it has none, those of the backup, whose
    file is put in place. Raises SettingsError and StorageError.
    """
    found = config_path(os.environ)
    if found is not None and os.path.lexists(found):
        return load(), None
    kept = next((each for each in kept_files(directory) if each.place == SETTINGS), None)
    if kept is None:
        return load(), None
    file = Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG_NAME).absolute()
    with translated("make", DiskPath(file, "")):
        file.parent.mkdir(parents=True, exist_ok=True)
    _Restore(directory, {SETTINGS: file}, lambda _what, _count: None, Disk()).put(kept)
    return load(), file


def bring_back(
    directory: Path,
    manifest: Manifest,
    settings: Settings,
    actor: Actor,
    *,
    made: Path | None,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> Brought:
    """Put a backup that was checked in place; ``made``: the settings file that came from
    it; ``disk``: what writes.

    Raises Refused if there is anything in store, drop, ledger or keys, but what an earlier attempt with this backup left.
    """
    roots = {STORE: settings.store, DROP: settings.drop, KEYS: settings.keys_dir}
    for root in roots.values():
        if is_inside(directory, root):
            raise Refused(f"the backup lies in {root}, where it is to be restored: move it elsewhere")
    disk = disk or Disk()
    marks = [DiskPath(root, f"{MANAGED_NAME}/{RESTORING}") for root in (settings.store, settings.drop)]
    ledger = Ledger(settings.ledger)
    try:
        _require_nothing(settings, ledger, manifest, marks, disk)
        for mark in marks:
            disk.make_root(mark.root, settings.dir_mode)
            disk.make_dirs(mark.parent, 0o700)
            disk.write_small(mark, manifest.files_sha256.encode(), durable=True)
        restore = _Restore(directory, roots, progress or (lambda _what, _count: None), disk)
        for kept in kept_files(directory):
            if kept.place != SETTINGS:
                restore.put(kept)
        restore.flush()
        snapshots.load_snapshot(directory / LEDGER, ledger)
        with ledger.transaction() as connection:
            records.set_place(connection, "")  # nobody has looked yet where this gate is
            records.set_restored(connection, f"the backup of {manifest.made_at} was brought back")
        for mark in reversed(marks):
            disk.unlink(mark)
            disk.sync_dirs([mark.parent])
    finally:
        ledger.close()
    build(settings).close()  # holds what waited
    record_act(settings, actor, "backup.restored", directory=str(directory), made_at=manifest.made_at)
    return Brought(
        made_at=manifest.made_at,
        gate=manifest.gate,
        files=manifest.files,
        content_bytes=manifest.content_bytes,
        settings=made,
    )


def _require_nothing(settings: Settings, ledger: Ledger, manifest: Manifest, marks: list[DiskPath], disk: Disk) -> None:
    """Raise Refused unless there is nothing, or what an interrupted restore of this very backup left."""
    begun = False
    for mark in marks:
        if mark.root.is_dir() and disk.is_dir(mark.parent) and disk.exists(mark):
            if disk.read_small(mark).decode() != manifest.files_sha256:
                raise Refused(f"a restore of another backup into {mark.root} was cut off: go on with that one")
            begun = True
    if begun:
        return
    for what, place in (("store", settings.store), ("drop", settings.drop), ("keys", settings.keys_dir)):
        if place.is_dir() and any(_living(place)):
            raise Refused(
                f"the {what} {place} is not empty: a backup is restored where there is no gate, and nothing is overwritten "
                "(move what is there away, or name other places in the settings)"
            )
    try:
        is_used = ledger.is_made()
    except LedgerError as error:
        raise Refused(f"the ledger cannot be looked at: {error.message}") from error
    if is_used:
        with ledger.reading() as connection:
            is_used = records.identity(connection) is not None or records.has_arrivals(connection)
    if is_used:
        raise Refused("there is a ledger in use: a backup is restored where there is no gate, and nothing is overwritten")


def _living(place: Path) -> Iterator[Path]:
    """Yield the files below a directory: empty directories are what an installation makes, and a mark without its name what a
    restore left that was killed as it began.
    """
    for path in place.rglob("*"):
        if (not path.is_dir() or path.is_symlink()) and path.name != f".{RESTORING}.new":
            yield path


class _Restore:
    """Puts files in their places. ``roots``: where each first part of a place is."""

    def __init__(self, directory: Path, roots: Mapping[str, Path], progress: Progress, disk: Disk) -> None:
        self._directory = directory
        self._roots = roots
        self._disk = disk
        self._progress = progress
        self._count = 0

    def put(self, kept: Kept) -> None:
        """Put one file or directory in place, unless it is there."""
        top, _, path = kept.place.partition("/")
        root = self._roots[top]
        where = DiskPath(root, path) if path else DiskPath(root.parent, root.name)
        if not kept.sha256:
            self._disk.make_root(root, 0o700)
            self._disk.make_dirs(where, kept.mode)
            self._disk.open_up(where, kept.mode, None)
            return
        self._disk.make_root(where.root, 0o700)
        self._disk.make_dirs(where.parent, 0o700)
        status = self._disk.lstat(where)
        if status is not None:
            if status.st_size == kept.size and stat.S_ISREG(status.st_mode) and sha256_of_file(where.local) == kept.sha256:
                return
            raise Refused(f"{where.local} is there, and is another file: nothing is overwritten")
        fresh = where.parent / ".sftpgate-restoring"
        self._disk.unlink(fresh, missing_ok=True)
        self._disk.copy(DiskPath(self._directory, f"{CONTENTS}/{kept.sha256[:2]}/{kept.sha256}"), fresh, kept.mode)
        fd = self._disk.open_read(fresh)
        try:
            self._disk.set_mode(fd, kept.mode, None)
            self._disk.set_times(fd, kept.mtime_ns, kept.mtime_ns)
        finally:
            os.close(fd)
        self._disk.rename(fresh, where, replacing=False)
        self._count += 1
        self._progress("files", self._count)

    def flush(self) -> None:
        """Make everything durable."""
        for root in self._roots.values():
            if root.is_dir():
                self._disk.sync_filesystem(DiskPath(root, ""))
