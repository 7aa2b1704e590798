"""Directories of the store get another path, with everything in them (``sftpgate store mv``).

Each arrival in the directory keeps its id and its owner and moves by a change, at most SLICE of them at a time; what the
ledger does not know moves after them, as many at a time, and never over anything. A crash leaves some files at the
old path and some at the new one, each recorded where it is; the same command goes on. Everything blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sftpgate.depot.depot import Depot, DepotPath, is_utf8
from sftpgate.errors import AlreadyExists, DirectoryNotEmpty, NoSuchFile
from sftpgate.handover.journal import SLICE, Journal
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.actor import Actor
from sftpgate.policy.lifecycle import Area, ArrivalState
from sftpgate.policy.locations import area_of, location
from sftpgate.policy.names import check_storable, join
from sftpgate.store.disk_paths import DiskPath

_MOVING = (ArrivalState.WAITING, ArrivalState.QUEUED)


class Trees:
    """Moves directories of the store."""

    def __init__(self, resources: Resources, journal: Journal, placer: Placer, depot: Depot, actor: Actor) -> None:
        self._resources = resources
        self._journal = journal
        self._placer = placer
        self._depot = depot
        self._actor = actor

    def move(self, old: DepotPath, new: DepotPath) -> int:
        """Give the directory ``old`` the path ``new``; returns how many arrivals moved with it. What is in the way of a single
        file raises AlreadyExists or OwnedByAnother, and everything from there on stays.
        """
        moved, after = 0, ("", 0)
        while page := self._live_below(old, after):
            after = (page[-1].path, page[-1].seq)
            rows = [row for row in page if _is_movable(row)]
            self._placer.companions.hash_first(replace(row, path=_below(row.path, old, new)) for row in rows)
            with self._journal.change() as change:
                change.load(path for row in rows for path in (row.path, _below(row.path, old, new)))
                for row in rows:
                    item = change.get(row.id)
                    if item.state in _MOVING:
                        check_storable(_below(item.path, old, new))
                        self._placer.move(change, item, _below(item.path, old, new), actor=self._actor)
                        moved += 1
            for error in change.failures.values():
                raise error
            self._placer.second_looks.at(change.unverified.values())
        self._move_rest(old, new)
        return moved

    def _live_below(self, old: DepotPath, after: tuple[str, int]) -> list[Arrival]:
        with self._resources.ledger.reading() as connection:
            return arrivals.live_below(connection, old, after=after, limit=SLICE)

    def _move_rest(self, old: DepotPath, new: DepotPath) -> None:
        """Move what the ledger does not know. A slice of it at a time is under the store's lock: publishers have their turn."""
        disk, modes = self._resources.disk, self._resources.modes
        found = list(self._everything(old))
        directories = [old, *(path for path, is_dir in found if is_dir)]
        for path in directories:
            disk.make_dirs(self._depot.disk_path(DepotPath(_below(path, old, new))), modes.dir_mode, modes.gid)
        files = [path for path, is_dir in found if not is_dir]
        for start in range(0, len(files), SLICE):
            with self._journal.locks.names():
                self._move_files(files[start : start + SLICE], old, new)
        for path in reversed(directories):
            with contextlib.suppress(DirectoryNotEmpty, NoSuchFile):  # somebody has just put a file there
                disk.remove_dir(self._depot.disk_path(path))
        disk.sync_dirs([self._depot.disk_path(old).parent])

    def _move_files(self, paths: Sequence[DepotPath], old: DepotPath, new: DepotPath) -> None:
        disk, touched = self._resources.disk, dict[DiskPath, None]()
        with self._resources.ledger.reading() as connection:
            arrived = {row.location for row in arrivals.live_at(connection, filter(is_utf8, paths))}
        try:
            for path in paths:
                if location(Area.STORE, path) in arrived:
                    continue  # it came when the others had been moved
                target = self._depot.disk_path(DepotPath(_below(path, old, new)))
                try:
                    disk.rename(self._depot.disk_path(path), target, replacing=False)
                except NoSuchFile:
                    continue  # somebody took it just now
                except AlreadyExists as error:
                    raise AlreadyExists(
                        f"{target.path} is there already: {path} stays where it is, and so does what follows"
                    ) from error
                touched |= {target.parent: None, self._depot.disk_path(path).parent: None}
        finally:
            disk.sync_dirs(touched)

    def _everything(self, directory: DepotPath) -> Iterator[tuple[DepotPath, bool]]:
        for entry in self._depot.entries(directory):
            path = DepotPath(join(directory, entry.name))
            yield path, entry.is_dir
            if entry.is_dir:
                yield from self._everything(path)


def _is_movable(row: Arrival) -> bool:
    return row.state in _MOVING and row.location is not None and area_of(row.location) in (Area.STORE, Area.QUEUE)


def _below(path: str, old: str, new: str) -> str:
    return new + path[len(old) :]
