"""The directories of senders: the homes, what a path needs of its directory, and each directory's mirror in the store.

Paths are relative to the drop. Everything blocks; each function is one step that a crash leaves done or not done, but for the
mirror in the store, which is made and removed after the directory of the drop and may be missing.
"""

from __future__ import annotations

import contextlib
import stat

from sftpgate.drop.sender_view import Item, SenderView
from sftpgate.errors import ForeignLock, HomeIsLock, HomeTaken, IsADirectory, NoSuchFile, NotADirectory, Refused, SftpgateError
from sftpgate.handover.journal import Journal
from sftpgate.handover.placement.homes import ways_to
from sftpgate.handover.placement.rules import PlacementRules
from sftpgate.handover.resources import Resources
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location
from sftpgate.policy.names import NameRules, parent
from sftpgate.uploads.terms import Sender


class SenderDirectories:
    """Makes and removes directories of the drop. One instance per process."""

    def __init__(self, resources: Resources, journal: Journal, rules: PlacementRules, sender_view: SenderView) -> None:
        self._rules = rules
        self._resources = resources
        self._journal = journal
        self._disk = resources.disk
        self._layout = resources.layout
        self._names = rules.names
        self._sender_view = sender_view

    def make_home(self, home: str) -> None:
        """Make the directory of the drop that a user sees as its top, if it is missing. Raises HomeTaken if a file is in
        its way, HomeIsLock if it would hold everybody's files above it, and StoreAway.
        """
        if self._names.locks_above(home):
            raise HomeIsLock()
        self._journal.require_store()
        disk_path, modes = self._layout.disk_path(location(Area.DROP, home)), self._resources.modes
        if not home or self._disk.is_dir(disk_path):
            self._make_rehearsal_folder(home)
            return
        try:
            self._disk.make_dirs(disk_path, modes.dir_mode, modes.gid)
        except (NotADirectory, NoSuchFile) as error:  # the latter of a link
            raise HomeTaken() from error
        if not self._disk.is_dir(disk_path):
            raise HomeTaken()
        self._make_rehearsal_folder(home)

    def _make_rehearsal_folder(self, home: str) -> None:
        """Make the folder of a home whose files are only tried, if there is to be one and nothing else has its name."""
        folder = self._rules.rehearsals.folder_in(home)
        if folder is None:
            return
        disk_path, modes = self._layout.disk_path(location(Area.DROP, folder)), self._resources.modes
        if self._disk.lstat(disk_path) is None:
            with contextlib.suppress(SftpgateError):  # a full disk, for one: the sender may make it
                self._disk.make_dirs(disk_path, modes.dir_mode, modes.gid)

    def refuse_rehearsal_folder(self, path: str, home: str) -> None:
        """Raise Refused for the rehearsal folder itself: under another name its files would be handed over."""
        if path == self._rules.rehearsals.folder_in(home):
            raise Refused("this is the folder of rehearsals, which keeps its name (rule: rehearsal folder)")

    def is_home_taken(self, home: str) -> bool:
        """Whether something else than a directory has the name of a home, or of what leads to it."""
        found = (self._disk.lstat(self._layout.disk_path(location(Area.DROP, way))) for way in ways_to([home]))
        return any(status is not None and not stat.S_ISDIR(status.st_mode) for status in found)

    def require_parent(self, sender: Sender, path: str) -> None:
        """Raise NoSuchFile unless the directory of a path is there. A home that somebody removed on the disk is made again."""
        directory = parent(path)
        if self._sender_view.is_directory(directory):
            return
        if f"{directory}/".startswith(f"{sender.home}/"):
            self.make_home(sender.home)
        if not self._sender_view.is_directory(directory):
            raise NoSuchFile("no such directory")

    def make(self, path: str) -> None:
        """Make a directory and its mirror."""
        disk_path = self._layout.disk_path(location(Area.DROP, path))
        modes = self._resources.modes
        self._disk.make_dir(disk_path, modes.dir_mode, modes.gid)
        self._disk.sync_dirs([disk_path.parent])
        with contextlib.suppress(NotADirectory):  # a file has a part of the path in the store: uploads below it will say so
            self._disk.make_dirs(self._layout.disk_path(location(Area.STORE, path)), modes.dir_mode, modes.gid)

    def remove(self, path: str) -> None:
        """Remove an empty directory, and its mirror if that is empty too."""
        disk_path = self._layout.disk_path(location(Area.DROP, path))
        self._disk.remove_dir(disk_path)
        self._disk.sync_dirs([disk_path.parent])
        with contextlib.suppress(SftpgateError):  # files of others, or the admin's, are in it: it stays
            self._disk.remove_dir(self._layout.disk_path(location(Area.STORE, path)))

    def refuse_hidden(self, path: str) -> None:
        """Raise IsADirectory if the store has a directory of this name that the sender does not see."""
        if self._disk.is_dir(self._layout.disk_path(location(Area.STORE, path))) and not self._sender_view.is_directory(path):
            raise IsADirectory("a directory of this name is in the store (rule: one name is one file)")


def refuse_foreign_lock(names: NameRules, path: str, there: Item) -> None:
    """Raise ForeignLock for a batch lock that nobody sent: it holds other senders' files too, in whose home it ever lies."""
    nobodys = not there.is_dir and there.upload is None and there.partial is None and there.arrival is None
    if nobodys and path.rpartition("/")[2] in names.batch_lock_names:
        raise ForeignLock()
