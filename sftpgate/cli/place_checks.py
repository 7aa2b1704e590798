"""Checks of ``sftpgate doctor`` that look at single places: homes, arrivals that cannot come to theirs, ACLs of the store."""

from __future__ import annotations

from sftpgate.cli.findings import Finding, Findings, Level, error, warning
from sftpgate.intake.settling import Files
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database import Ledger
from sftpgate.settings import Settings
from sftpgate.store.acls import default_acl
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.store.spots import FileModes, Spot
from sftpgate.users.registry import UserRegistry


def check_homes(settings: Settings) -> Findings:
    """Whether each user can be given its directory."""
    disk = Disk()
    for user in UserRegistry(settings.keys_dir).list():
        home = Spot(settings.drop, user.home)
        if user.home and (obstacle := _first_that_is_no_directory(disk, home)):
            yield error("homes", f"{user.name} has no directory: {obstacle.local} is none", "move it away")


def _first_that_is_no_directory(disk: Disk, home: Spot) -> Spot | None:
    parts = home.path.split("/")
    ways = [Spot(home.root, "/".join(parts[: depth + 1])) for depth in range(len(parts))]
    return next((way for way in ways if disk.exists(way) and not disk.is_dir(way)), None)


def check_stuck(settings: Settings) -> Findings:
    """Whether every arrival can come to its place."""
    for item, obstacle in stuck(settings):
        yield error("places", f"{item.path} (arrival {item.id}) cannot come to its place: {obstacle}", "then look again")


def stuck(settings: Settings) -> list[tuple[Arrival, str]]:
    """The arrivals whose last move cannot be made, each with what is in its way."""
    ledger = Ledger(settings.ledger)
    if ledger.file is not None and not ledger.file.exists():
        return []
    files = Files(Layout(settings.store, settings.drop), Disk(), FileModes())
    try:
        with ledger.reading() as connection:
            pending = arrivals.pending(connection)
        return [(item, obstacle) for item in pending if (obstacle := files.obstacle(item.location))]
    finally:
        ledger.close()


def check_acls(settings: Settings) -> Findings:
    """What the default ACL of the store means for those who read in it."""
    try:
        with Disk().directory(Spot(settings.store, "")) as directory:
            found = default_acl(directory)
    except OSError:
        return
    if found is None:
        return
    yield Finding(
        level=Level.OK,
        check="access lists",
        finding=f"published files get the default ACL of {settings.store}, narrowed by file_mode ({settings.file_mode:04o})",
    )
    if not settings.file_mode & 0o070:
        yield warning(
            "access lists",
            f"file_mode ({settings.file_mode:04o}) leaves nothing of the default ACL of {settings.store}: "
            "its group bits are the mask",
            "set file_mode to 0640",
        )
