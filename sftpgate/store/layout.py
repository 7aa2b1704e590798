"""Every path of drop and store. ``Layout.disk_path`` is the only way from a Location to the disk.

    <store>/                      what runners read            Area.STORE
    <store>/archives, reports     managed                      the areas of policy/managed.py
    <store>/.sftpgate/staging/<user>/<upload>       bytes of uploads; <upload>.<hash>.json: a note for those to resume
    <store>/.sftpgate/{held,queue,claims,quarantine,locks}/<arrival>
    <store>/.sftpgate/kept/<arrival>                a second name of a waiting file that replaced another; removed by the sweeper
    <store>/.sftpgate/claims/<arrival>.lock         flock()ed by the runner and its command, removed when the claim ends
    <store>/.sftpgate/runs/<run>/                   what a command is given: the file under its own name; removed after the run.
                                                    The store's group may pass .sftpgate and runs, and read in <run>: a command
                                                    may run as another user
    <store>/.sftpgate/tools/<tool>.lock             flock()ed by whoever runs the tool, never removed
    <store>/.sftpgate/lock, sweep.lock, guard.lock, followers.lock  flock()ed, never removed
    <store>/.sftpgate/sequence                      the number of the last upload that was opened; may be removed
    <store>/.sftpgate/seats                         its bytes are locked, never removed
    <store>/.sftpgate/renames/<rename>              a rename of a large directory that is under way
    <store>/.sftpgate/identity, seal                whose store this is, and how old: see policy/identity.py
    <drop>/.sftpgate/identity                       whose drop this is
    <store>/.sftpgate/allowances/<user>             what the user may send and fetch at this moment; may be removed
    <drop>/                       Area.DROP

Everything but the drop is on one filesystem. The drop may be on another one: moves from and to it then copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sftpgate.hidden_names import MANAGED_NAME
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import Location, area_of, path_in
from sftpgate.policy.managed import MANAGED, MANAGED_AREAS
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, FileModes

_HIDDEN_AREAS = (Area.STAGING, Area.HELD, Area.QUEUE, Area.CLAIMS, Area.QUARANTINE, Area.LOCKS, Area.KEPT)
_RUNS, _TOOLS, _ALLOWANCES, _RENAMES = "runs", "tools", "allowances", "renames"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where drop and store lie."""

    store: Path
    drop: Path
    _roots: Mapping[str, Path] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_roots", {area: self._root(area) for area in Area})  # asked a dozen times for each file

    def _root(self, area: Area) -> Path:
        if area is Area.DROP:
            return self.drop
        if area is Area.STORE:
            return self.store
        if area in MANAGED_AREAS:
            return self.store / area
        return self.store / MANAGED_NAME / area

    def root(self, area: Area) -> Path:
        """Return the directory of an area."""
        return self._roots[area]

    def disk_path(self, where: Location) -> DiskPath:
        """Return the place on disk of a location."""
        return DiskPath(self._roots[area_of(where)], path_in(where))

    def directory(self, where: Location) -> DiskPath:
        """Return the directory that a location's file is in."""
        return self.disk_path(where).parent

    def staging(self, user: str) -> DiskPath:
        """Return the directory of one user's uploads."""
        return DiskPath(self.root(Area.STAGING), user)

    @property
    def lock(self) -> DiskPath:
        """The file whose lock guards every change of names in the store."""
        return DiskPath(self.store, f"{MANAGED_NAME}/lock")

    @property
    def guard_lock(self) -> DiskPath:
        """The file whose lock says who asks the contracts of tools."""
        return DiskPath(self.store, f"{MANAGED_NAME}/guard.lock")

    @property
    def followers_lock(self) -> DiskPath:
        """The file whose lock says who runs the followers of the record."""
        return DiskPath(self.store, f"{MANAGED_NAME}/followers.lock")

    @property
    def sweep_lock(self) -> DiskPath:
        """The file whose lock says who sweeps."""
        return DiskPath(self.store, f"{MANAGED_NAME}/sweep.lock")

    @property
    def user_slots(self) -> DiskPath:
        """The file whose locks count connections and sessions of users."""
        return DiskPath(self.store, f"{MANAGED_NAME}/seats")

    @property
    def sequence(self) -> DiskPath:
        """The file that has the number of the last upload."""
        return DiskPath(self.store, f"{MANAGED_NAME}/sequence")

    @property
    def managed(self) -> DiskPath:
        """Our own directory in the store."""
        return DiskPath(self.store, MANAGED_NAME)

    @property
    def identity(self) -> DiskPath:
        """The file that says whose store this is."""
        return DiskPath(self.store, f"{MANAGED_NAME}/identity")

    @property
    def drop_identity(self) -> DiskPath:
        """The file that says whose drop this is."""
        return DiskPath(self.drop, f"{MANAGED_NAME}/identity")

    @property
    def seal(self) -> DiskPath:
        """The file that tells a store from an older copy of it."""
        return DiskPath(self.store, f"{MANAGED_NAME}/seal")

    def allowance(self, user: str) -> DiskPath:
        """Return the file that says how many bytes a user may send and fetch at this moment."""
        return DiskPath(self.store, f"{MANAGED_NAME}/{_ALLOWANCES}/{user}")

    def claim_lock(self, arrival: str) -> DiskPath:
        """Return the file whose lock says that the runner of a claimed arrival lives."""
        return DiskPath(self.store, f"{MANAGED_NAME}/{Area.CLAIMS}/{arrival}.lock")

    def tool_lock(self, tool: str) -> DiskPath:
        """Return the file whose lock says that a tool is being run."""
        return DiskPath(self.store, f"{MANAGED_NAME}/{_TOOLS}/{tool}.lock")

    @property
    def runs(self) -> DiskPath:
        """The directory of the directories of runs."""
        return DiskPath(self.store, f"{MANAGED_NAME}/{_RUNS}")

    @property
    def renames(self) -> DiskPath:
        """The directory of what is written down of renames of directories that are under way."""
        return DiskPath(self.store, f"{MANAGED_NAME}/{_RENAMES}")

    def create(self, disk: Disk, modes: FileModes) -> None:
        """Make the directories that are missing. What runs in the store may read it; our own directory in it is private.

        The group of the store may pass through ours to the directory of a run, whose name it must know, and list nothing; others
        may if they may pass through the store, by its mode or by the settings. The group is the store's, whoever made the
        directory.
        """
        disk.make_root(self.store, modes.dir_mode, modes.gid)
        disk.make_root(self.drop, modes.dir_mode, modes.gid)
        for directory in MANAGED:
            disk.make_dirs(DiskPath(self.store, directory.name), modes.dir_mode, modes.gid)
        store = disk.lstat(DiskPath(self.store, ""))
        passage = 0o700 | (modes.dir_mode | (store.st_mode if store else 0)) & 0o011
        group = disk.group_of(DiskPath(self.store, "")) if modes.gid is None else modes.gid
        for way in (DiskPath(self.store, MANAGED_NAME), self.runs):
            disk.make_dirs(way, passage)
            disk.open_up_if_we_may(way, passage, group)
        for name in (*_HIDDEN_AREAS, _TOOLS, _ALLOWANCES, _RENAMES):
            disk.make_dirs(DiskPath(self.store, f"{MANAGED_NAME}/{name}"), 0o700)
