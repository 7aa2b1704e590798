"""Checks of ``sftpgate doctor`` that look at single places: homes, arrivals that cannot come to theirs, ACLs of the store."""

from __future__ import annotations

from sftpgate.app.context import ledger_of_any_version
from sftpgate.app.doctor.findings import Finding, Findings, Level, error, warning
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.settings.tree import Settings
from sftpgate.store.content import LocalContents
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, FileModes
from sftpgate.store.kernel.acls import default_acl
from sftpgate.store.layout import Layout
from sftpgate.users.registry import UserRegistry


def check_homes(settings: Settings) -> Findings:
    """Yield whether each user can be given its directory."""
    disk = Disk()
    for user in UserRegistry(settings.keys_dir).list():
        home = DiskPath(settings.drop, user.home)
        if user.home and (obstacle := _first_that_is_no_directory(disk, home)):
            yield error("homes", f"{user.name} has no directory: {obstacle.local} is none", "move it away")


def _first_that_is_no_directory(disk: Disk, home: DiskPath) -> DiskPath | None:
    parts = home.path.split("/")
    ways = [DiskPath(home.root, "/".join(parts[: depth + 1])) for depth in range(len(parts))]
    return next((way for way in ways if disk.exists(way) and not disk.is_dir(way)), None)


def check_stuck(settings: Settings) -> Findings:
    """Yield whether every arrival can come to its place."""
    for item, obstacle in stuck(settings):
        yield error("places", f"{item.path} (arrival {item.id}) cannot come to its place: {obstacle}", "then look again")


def stuck(settings: Settings) -> list[tuple[Arrival, str]]:
    """Return the arrivals whose last move cannot be made, each with what is in its way."""
    contents = LocalContents(Layout(settings.store, settings.drop), Disk(), FileModes())
    with ledger_of_any_version(settings) as ledger:
        if ledger is None or not ledger.is_current():
            return []
        with ledger.reading() as connection:
            pending = arrivals.pending(connection)
        return [(item, found) for item in pending if item.location and (found := contents.obstacle(item.location))]


def check_acls(settings: Settings) -> Findings:
    """Yield what the default ACL of the store means for those who read in it."""
    try:
        with Disk().directory(DiskPath(settings.store, "")) as directory:
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
