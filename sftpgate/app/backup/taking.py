"""Writes a backup of a gate, while it runs (promises P2 and P3).

First everything is copied as it lies there, which takes as long as it takes and keeps nobody waiting. Then the store's lock is
held for a moment: the ledger is frozen, and the files that something has happened to since are opened. What is open cannot go
away, whatever becomes of its name. After that these are copied, and the frozen ledger says what was where: so the backup has
the state of that one moment. If too much happened meanwhile to be opened at once, it is copied first, and the moment is tried
again.

A kill leaves a directory without a manifest, which nothing takes for a backup. An error removes what was written. Blocks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from sftpgate.app.audit import record_act
from sftpgate.app.backup.manifest import (
    CONTENTS,
    DROP,
    FILES,
    FORMAT,
    KEYS,
    LEDGER,
    MANIFEST,
    SETTINGS,
    STORE,
    Kept,
    Manifest,
    content_file,
    is_inside,
    sha256_of_file,
)
from sftpgate.errors import NoSpace, NoSuchFile, Refused, SftpgateError, StorageError
from sftpgate.hidden_names import MANAGED_NAME
from sftpgate.ledger import arrivals
from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.database import snapshots
from sftpgate.ledger.database.connection import Connection
from sftpgate.ledger.database.schema import SCHEMA_VERSION
from sftpgate.policy.lifecycle import LIVE_STATES, Area
from sftpgate.policy.locations import NAMED_BY_ID, Location, area_of
from sftpgate.settings.reading import config_path
from sftpgate.settings.tree import Settings
from sftpgate.site import Site
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, translated

Progress = Callable[[str, int], None]

_CHUNK_BYTES = 1 << 20
_OPENED_AT_ONCE = 200  # files, while others wait for the store's lock: some milliseconds, and below any limit of descriptors
_ROUNDS = 10  # of copying what has changed meanwhile; each has less to do than the one before
_KEPT_OF_OURS = (Area.HELD, Area.QUEUE, Area.CLAIMS, Area.QUARANTINE, Area.LOCKS, Area.STAGING)
_IDENTITY_FILES = ("identity", "seal")

_Known = tuple[int, int, int, int]  # device, inode, size and time: what tells one content from another without reading it


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was written. ``waited_seconds``: for how long the store's lock was held."""

    directory: Path
    files: int
    content_bytes: int
    waited_seconds: float


@dataclass(slots=True)
class _Writer:
    """Writes contents into the backup, each once."""

    directory: Path
    disk: Disk
    floor_bytes: int
    copied_bytes: int = 0
    known: dict[_Known, str] = field(default_factory=dict)

    def keep(self, fd: int) -> tuple[str, os.stat_result]:
        """Copy an open file, unless its content is there; return its SHA-256 and what the kernel says of it."""
        status = os.fstat(fd)
        key = _known(status)
        if (found := self.known.get(key)) is not None:
            return found, status
        self._require_space(status.st_size)
        fresh = DiskPath(self.directory, f"{CONTENTS}/.new")
        self.disk.unlink(fresh, missing_ok=True)
        target = self.disk.create(fresh, 0o600)
        digest, offset = hashlib.sha256(), 0
        try:
            while chunk := os.pread(fd, _CHUNK_BYTES, offset):
                digest.update(chunk)
                self.disk.write(target, offset, chunk)
                offset += len(chunk)
        finally:
            os.close(target)
        sha256 = digest.hexdigest()
        kept = content_file(self.directory, sha256)
        place = DiskPath(self.directory, str(kept.relative_to(self.directory)))
        if not self.disk.exists(place.parent):
            self.disk.make_dir(place.parent, 0o700)
        self.disk.rename(fresh, place)
        self.copied_bytes += offset
        if offset == status.st_size:  # what grew while it was read is read again
            self.known[key] = sha256
        return sha256, status

    def _require_space(self, size: int) -> None:
        if self.disk.free_bytes(self.directory) - size < self.floor_bytes:
            raise NoSpace(
                "the backup was given up, and what it had written is removed: its disk has no more room, or is the gate's own, "
                "where free_space_floor is kept for uploads"
            )


def prepare(settings: Settings, directory: Path) -> None:
    """Make the directory of a backup, for the account that the store belongs to, if root asks.

    Raises Refused if it lies in what is to be kept, or has anything in it, and StorageError.
    """
    for kept in (settings.store, settings.drop, settings.keys_dir):
        if is_inside(directory, kept):
            raise Refused(f"{directory} lies in {kept}, of which it is to be a backup")
    with translated("look at", DiskPath(directory, "")):
        if directory.is_dir():
            if any(directory.iterdir()):
                what = "has a backup" if (directory / MANIFEST).exists() else "is not empty"
                raise Refused(f"{directory} {what}: nothing is overwritten (name another one, or remove it)")
            return
    with translated("make", DiskPath(directory, "")):
        directory.mkdir(mode=0o700, parents=True)
        if os.geteuid() == 0 and settings.store.is_dir():
            shutil.chown(directory, settings.store.stat().st_uid, settings.store.stat().st_gid)


def back_up(site: Site, actor: Actor, directory: Path, progress: Progress | None = None, *, disk: Disk | None = None) -> Taken:
    """Write a backup into an empty directory; return what is in it.

    Raises Refused if the directory lies in what is to be kept, or has anything in it; NoSpace, StorageError and LedgerError, with
    what was written removed.
    """
    settings = site.settings
    prepare(settings, directory)
    try:
        taken = _Backup(site, directory, progress or (lambda _what, _count: None), disk or Disk()).take()
    except BaseException:
        for made in (CONTENTS,):
            shutil.rmtree(directory / made, ignore_errors=True)
        for made in (FILES, LEDGER, MANIFEST):
            (directory / made).unlink(missing_ok=True)
        raise
    record_act(settings, actor, "backup.taken", directory=str(directory), files=taken.files)
    return taken


class _Backup:
    def __init__(self, site: Site, directory: Path, progress: Progress, out: Disk) -> None:
        self._site = site
        self._layout, self._disk = site.layout, site.disk
        self._directory = directory
        self._out = out  # the gate's own keeps its directories open
        self._progress = progress
        beside = directory.stat().st_dev in {site.layout.store.stat().st_dev, site.layout.drop.stat().st_dev}
        self._writer = _Writer(directory, self._out, site.settings.free_space_floor if beside else 0)
        self._by_path: dict[str, tuple[Kept, int]] = {}  # what lay where when it was looked at, with its inode
        self._opened: dict[str, tuple[arrivals.Arrival, int]] = {}

    def take(self) -> Taken:
        self._out.make_dir(DiskPath(self._directory, CONTENTS), 0o700)
        head = self._head()
        for place, root in ((STORE, self._layout.store), (DROP, self._layout.drop)):
            self._copy_tree(place, DiskPath(root, ""))
        for _ in range(_ROUNDS):
            head, ready = self._copy_changed(head)
            if ready:
                break
        with contextlib.ExitStack() as stack:
            with self._site.journal.locks.names():
                self._site.journal.require_store()
                began = self._site.resources.uptime()
                connection = stack.enter_context(self._site.ledger.frozen())
                for row in self._changed(connection, head):
                    fd = self._open(row)
                    if fd is not None:
                        stack.callback(os.close, fd)
                        self._opened[row.id] = (row, fd)
                made_at, waited = self._site.clock(), self._site.resources.uptime() - began
            kept = list(self._kept(connection))
            snapshots.write_snapshot(connection, self._directory / LEDGER)
        kept += self._other_files()
        return self._written(kept, made_at.isoformat(), waited)

    # -- what changes meanwhile --------------------------------------------------------------------------------------

    def _head(self) -> int:
        with self._site.ledger.reading() as connection:
            return chain.ends(connection).head_seq

    def _changed(self, connection: Connection, head: int) -> list[arrivals.Arrival]:
        ids = event_log.arrivals_since(connection, head)
        found: list[arrivals.Arrival] = []
        for start in range(0, len(ids), _OPENED_AT_ONCE):
            found += arrivals.find(connection, ids=ids[start : start + _OPENED_AT_ONCE])
        return [row for row in found if row.location is not None]

    def _copy_changed(self, head: int) -> tuple[int, bool]:
        """Copy what has changed since the event ``head``; return a new head, and whether what was left was little."""
        now = self._head()
        with self._site.ledger.reading() as connection:
            rows = self._changed(connection, head)
        for row in rows:
            fd = self._open(row)
            if fd is not None:
                try:
                    self._writer.keep(fd)
                finally:
                    os.close(fd)
        few = len(rows) <= _OPENED_AT_ONCE
        return (head if few else now), few

    def _open(self, row: arrivals.Arrival) -> int | None:
        """Return a descriptor of the file of an arrival, where it is or where its last move begins; None if it is not there."""
        for where in (row.location, row.pending_from):
            if where is not None:
                with contextlib.suppress(SftpgateError):
                    fd = self._disk.open_read(self._layout.disk_path(where))
                    if area_of(where) in NAMED_BY_ID or _could_be(row, os.fstat(fd)):
                        return fd
                    os.close(fd)
        return None

    # -- everything --------------------------------------------------------------------------------------------------

    def _copy_tree(self, place: str, directory: DiskPath) -> None:
        """Copy what lies below a directory of store or drop, and remember what lay where."""
        try:
            entries = sorted(self._disk.entries(directory), key=lambda entry: entry.name)
        except NoSuchFile:
            return
        for entry in entries:
            where = directory / entry.name
            if entry.name == MANAGED_NAME:
                self._copy_ours(f"{place}/{MANAGED_NAME}", where)
            elif entry.is_dir:
                self._remember(Kept(place=f"{place}/{where.path}", mode=stat.S_IMODE(entry.status.st_mode)), 0)
                self._copy_tree(place, where)
            elif entry.is_file:
                self._copy(f"{place}/{where.path}", where)

    def _copy_ours(self, place: str, directory: DiskPath) -> None:
        """Copy what is worth keeping of our own directory: no locks, no work of runs, nothing that is made anew."""
        for name in _IDENTITY_FILES:
            self._copy(f"{place}/{name}", directory / name)
        for area in _KEPT_OF_OURS if place.startswith(STORE) else ():
            self._copy_area(f"{place}/{area}", directory / area)

    def _copy_area(self, place: str, directory: DiskPath) -> None:
        for entry in sorted(self._disk.entries(directory), key=lambda entry: entry.name):
            if entry.is_dir:
                self._copy_area(f"{place}/{entry.name}", directory / entry.name)
            elif entry.is_file and not entry.name.endswith((".lock", ".new")):
                self._copy(f"{place}/{entry.name}", directory / entry.name)

    def _copy(self, place: str, where: DiskPath) -> None:
        try:
            fd = self._disk.open_read(where)
        except NoSuchFile:
            return
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return
            sha256, status = self._writer.keep(fd)
        finally:
            os.close(fd)
        self._remember(_kept(place, status, sha256), status.st_ino)

    def _remember(self, kept: Kept, inode: int) -> None:
        self._by_path[kept.place] = (kept, inode)
        self._progress("files", len(self._by_path))

    # -- the moment --------------------------------------------------------------------------------------------------

    def _kept(self, connection: Connection) -> Iterator[Kept]:
        """Yield the files of store and drop as they were at the moment that ``connection`` sees."""
        of_arrivals: set[int] = set()
        placed: set[str] = set()
        for row in arrivals.with_files(connection):
            of_arrivals.add(row.inode)
            assert row.location is not None
            place = self._place(row.location)
            if (opened := self._opened.get(row.id)) is not None:
                sha256, status = self._writer.keep(opened[1])
                place = self._place_of(opened[0], status)
                of_arrivals.add(status.st_ino)
                yield _kept(place, status, sha256)
            elif (found := self._by_path.get(place)) is not None:
                of_arrivals.add(found[1])
                yield found[0]
            elif row.state in LIVE_STATES:
                continue  # a program of the machine took it, and nobody has noticed yet
            else:
                raise StorageError(f"{place} went away while it was copied: try again in a moment")
            placed.add(place)
            note = self._by_path.get(f"{place}.json")
            if area_of(row.location) in NAMED_BY_ID:
                if note is None:
                    with contextlib.suppress(NoSuchFile):
                        self._copy(f"{place}.json", self._layout.disk_path(Location(f"{row.location}.json")))
                    note = self._by_path.get(f"{place}.json")
                if note is not None:
                    placed.add(note[0].place)
                    yield note[0]
        self._copy_tree_of_reports()
        ours = tuple(f"{STORE}/{MANAGED_NAME}/{area}/" for area in _KEPT_OF_OURS if area is not Area.STAGING)
        for place, (kept, inode) in self._by_path.items():
            if place in placed or place.startswith(ours) or (inode and inode in of_arrivals):
                continue  # it is, or was, an arrival's, which is elsewhere by now
            yield kept

    def _copy_tree_of_reports(self) -> None:
        """Copy reports that were written meanwhile: those of a run that ended before the moment are on the record."""
        directory = DiskPath(self._layout.store, str(Area.REPORTS))
        for entry in self._disk.entries(directory):
            place = f"{STORE}/{Area.REPORTS}/{entry.name}"
            if entry.is_file and place not in self._by_path:
                self._copy(place, directory / entry.name)

    def _place(self, where: Location) -> str:
        disk_path = self._layout.disk_path(where)
        root = DROP if area_of(where) is Area.DROP else STORE
        base = self._layout.drop if root == DROP else self._layout.store
        return f"{root}/{disk_path.local.relative_to(base)}"

    def _place_of(self, row: arrivals.Arrival, status: os.stat_result) -> str:
        """Return where the file of an arrival was that was opened: at its place, or where its last move began."""
        assert row.location is not None
        if row.pending_from is not None:
            found = self._disk.lstat(self._layout.disk_path(row.location))
            if found is None or found.st_ino != status.st_ino:
                return self._place(row.pending_from)
        return self._place(row.location)

    # -- beside store and drop ---------------------------------------------------------------------------------------

    def _other_files(self) -> Iterator[Kept]:
        """Copy keys, and the settings file."""
        yield from self._plain_tree(KEYS, self._site.settings.keys_dir)
        settings = config_path(os.environ)
        if settings is not None:
            yield self._plain(SETTINGS, settings)

    def _plain_tree(self, place: str, directory: Path) -> Iterator[Kept]:
        for path in sorted(directory.iterdir()) if directory.is_dir() else ():
            if path.name.startswith((".new-", ".old-")):
                continue
            below = f"{place}/{path.name}"
            if path.is_dir():
                yield Kept(place=below, mode=stat.S_IMODE(path.stat().st_mode))
                yield from self._plain_tree(below, path)
            elif path.is_file():
                yield self._plain(below, path)

    def _plain(self, place: str, path: Path) -> Kept:
        with translated("read", DiskPath(path, "")), path.open("rb") as file:
            sha256, status = self._writer.keep(file.fileno())
        return _kept(place, status, sha256)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _written(self, kept: list[Kept], made_at: str, waited: float) -> Taken:
        lines = DiskPath(self._directory, FILES)
        fd = self._out.create(lines, 0o600)
        offset = 0
        digest = hashlib.sha256()
        try:
            for each in kept:
                line = each.as_line()
                digest.update(line)
                self._out.write(fd, offset, line)
                offset += len(line)
        finally:
            os.close(fd)
        ledger = self._directory / LEDGER
        ledger.chmod(0o600)
        files = [each for each in kept if each.sha256]
        ties = self._site.journal.ties
        manifest = Manifest(
            format=FORMAT,
            version=version("sftpgate"),
            schema=SCHEMA_VERSION,
            made_at=made_at,
            gate=ties.identity if ties is not None else "",
            files=len(files),
            content_bytes=sum({each.sha256: each.size for each in files}.values()),
            files_sha256=digest.hexdigest(),
            ledger_sha256=sha256_of_file(ledger),
        )
        self._out.sync_filesystem(DiskPath(self._directory, ""))  # all of it, before there is a manifest
        self._out.write_small(DiskPath(self._directory, MANIFEST), manifest.as_json(), durable=True)
        return Taken(directory=self._directory, files=manifest.files, content_bytes=manifest.content_bytes, waited_seconds=waited)


def _kept(place: str, status: os.stat_result, sha256: str) -> Kept:
    return Kept(place=place, mode=stat.S_IMODE(status.st_mode), mtime_ns=status.st_mtime_ns, size=status.st_size, sha256=sha256)


def _known(status: os.stat_result) -> _Known:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _could_be(row: arrivals.Arrival, status: os.stat_result) -> bool:
    return status.st_ino == row.inode or status.st_size == row.size
