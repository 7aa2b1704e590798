"""What people and programs of this machine change in the store: to put, move and remove files and directories."""

from __future__ import annotations

from typing import BinaryIO

from sftpgate.app.composition import make_notices
from sftpgate.depot.deposits import Deposits, Moved, Progress
from sftpgate.depot.depot import DepotPath, depot_path
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.actor import Actor
from sftpgate.policy.names import join
from sftpgate.site import Site


def make_deposits(site: Site, actor: Actor) -> Deposits:
    """Return what puts, moves and removes for ``actor``."""
    return Deposits(
        site.resources,
        site.journal,
        site.placer,
        actor,
        max_upload_bytes=site.settings.max_upload_bytes,
        free_space_floor=site.settings.free_space_floor,
    )


def target_of(deposits: Deposits, path: str, name: str) -> DepotPath:
    """Return where something called ``name`` goes that is put or moved to ``path``: into it if it is a directory or ends with a
    slash, else under that very path.
    """
    where = depot_path(path)
    if not where or path.endswith("/") or deposits.depot.is_dir(where):
        return DepotPath(join(where, name)) if name else where
    return where


def put(site: Site, actor: Actor, source: BinaryIO, path: str, *, name: str = "", progress: Progress | None = None) -> Arrival:
    """Put a file into the store, whole and at once. It waits for its tool as if an ERP had sent it.

    ``name`` is what it is called if ``path`` is a directory; if empty, ``path`` names the file itself. Raises Refused,
    NameRefused, PlaceRefused and NoSpace.
    """
    deposits = make_deposits(site, actor)
    return deposits.put(source, target_of(deposits, path, name) if name else depot_path(path), progress)


def make_directory(site: Site, actor: Actor, path: str) -> None:
    """Make a directory in the store. Raises PlaceRefused, NameRefused, AlreadyExists and NoSuchFile."""
    make_deposits(site, actor).make_directory(depot_path(path))


def move(site: Site, actor: Actor, old: str, new: str, *, force: bool = False) -> Moved:
    """Give a file or directory another name, or move it into a directory; nothing is ever replaced.

    ``force``: even if a tool gets nothing any more. Raises Refused, AlreadyExists, NoSuchFile, PlaceRefused and NameRefused.
    """
    deposits = make_deposits(site, actor)
    source = depot_path(old)
    return deposits.move(source, target_of(deposits, new, source.rpartition("/")[2]), force=force)


def remove(site: Site, actor: Actor, path: str, *, force: bool = False) -> Arrival | None:
    """Remove a file or an empty directory. Returns the arrival that was discarded, whose sender finds a report of that; None for
    what was none. ``force``: even if a tool gets nothing any more. Raises Refused, NoSuchFile and PlaceRefused.
    """
    notices = make_notices(site)
    return make_deposits(site, actor).remove(depot_path(path), notices, force=force)
