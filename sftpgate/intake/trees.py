"""Directories of the store get another path, with everything in them (``sftpgate store mv``).

Each arrival in the directory keeps its id and its owner and moves by a change, at most BATCH of them at a time; what the
ledger does not know moves after them, under the store's lock, and never over anything. A crash leaves some files at the
old path and some at the new one, each recorded where it is; the same command goes on. Everything blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from sftpgate.errors import AlreadyExists, DirectoryNotEmpty, NoSuchFile
from sftpgate.intake.moves import Moves
from sftpgate.intake.placing import Placer
from sftpgate.ledger import arrivals
from sftpgate.ledger.actor import Actor
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import Area, ArrivalState
from sftpgate.policy.locations import area_of
from sftpgate.policy.names import join
from sftpgate.store.depot import Depot, DepotPath

BATCH = 500
_MOVING = (ArrivalState.WAITING, ArrivalState.QUEUED)


class Trees:
    """Moves directories of the store."""

    def __init__(self, moves: Moves, placer: Placer, depot: Depot, actor: Actor) -> None:
        self._moves = moves
        self._placer = placer
        self._depot = depot
        self._actor = actor

    def move(self, old: DepotPath, new: DepotPath) -> int:
        """Give the directory ``old`` the path ``new``; returns how many arrivals moved with it. What is in the way of a single
        file raises AlreadyExists or OwnedByAnother, and everything from there on stays.
        """
        moved = 0
        while rows := self._arrivals_below(old):
            self._placer.prepare(replace(row, path=_below(row.path, old, new)) for row in rows)
            with self._moves.change() as change:
                for row in rows:
                    item = change.get(row.id)
                    if item.state in _MOVING:
                        self._placer.move(change, item, _below(item.path, old, new), actor=self._actor)
                        moved += 1
            for error in change.failures.values():
                raise error
            self._placer.look_again(change.unverified.values())
        with self._moves.disk.locked(self._moves.layout.lock):
            self._move_rest(old, new)
        return moved

    def _arrivals_below(self, old: DepotPath) -> list[Arrival]:
        with self._moves.ledger.reading() as connection:
            rows = arrivals.find(connection, states=_MOVING, below=old, limit=BATCH)
        return [row for row in rows if row.location and area_of(row.location) in (Area.STORE, Area.QUEUE)]

    def _move_rest(self, old: DepotPath, new: DepotPath) -> None:
        disk, modes = self._moves.disk, self._moves.modes
        directories = [old]
        for path, entry in list(self._everything(old)):
            target = self._depot.spot(DepotPath(_below(path, old, new)))
            if entry:
                directories.append(path)
                disk.make_dirs(target, modes.dir_mode, modes.gid)
                continue
            disk.make_dirs(target.parent, modes.dir_mode, modes.gid)
            try:
                disk.rename(self._depot.spot(path), target, replacing=False)
            except AlreadyExists as error:
                raise AlreadyExists(
                    f"{target.path} is there already: {path} stays where it is, and so does what follows"
                ) from error
            disk.sync_dirs([target.parent])
        disk.make_dirs(self._depot.spot(new), modes.dir_mode, modes.gid)
        for path in reversed(directories):
            with contextlib.suppress(DirectoryNotEmpty, NoSuchFile):  # somebody has just put a file there
                disk.remove_dir(self._depot.spot(path))
        disk.sync_dirs([self._depot.spot(old).parent])

    def _everything(self, directory: DepotPath) -> Iterator[tuple[DepotPath, bool]]:
        for entry in self._depot.entries(directory):
            path = DepotPath(join(directory, entry.name))
            yield path, entry.is_dir
            if entry.is_dir:
                yield from self._everything(path)


def _below(path: str, old: str, new: str) -> str:
    return new + path[len(old) :]
