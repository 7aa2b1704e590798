"""A sender renames a directory: each of its files gets its new path, in slices, so that nobody waits for all of them.

All that can be refused is refused before anything is moved. A rename of more than a slice is written down first, in a small file
of its own, and is then carried to its end: each slice is a change of at most ``SLICE`` files, and between two of them the others
have their turn. Meanwhile some files are seen at their old path and the rest at the new one, each once. What is sent to the old
directory, or made in it, after the rename began stays there: the plan says up to which arrival, and which directories.

A crash leaves the small file, and each arrival whole at one of its two paths; start-up and the sweeper go on with it. A file that
a runner claims before its slice comes, or that somebody puts there meanwhile, keeps its path. The small file's lock says that a
live process is at it. Everything blocks.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sftpgate.errors import AlreadyExists, DirectoryNotEmpty, NameRefused, NoSuchFile, OwnedByAnother, Refused, SftpgateError
from sftpgate.handover.changes import Change
from sftpgate.handover.journal import SLICE, Journal
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.resources import Resources
from sftpgate.ids import new_id
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival
from sftpgate.ledger.audit.actor import Actor, sender
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import LIVE_STATES, UNCLAIMED_STATES, Area
from sftpgate.policy.locations import Location, location
from sftpgate.policy.names import check_storable, join
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.kernel.open_files import try_lock

log = get_logger("moves")

_LARGEST_PLAN = 1 << 30  # bytes: far more than the directories that any quota allows


@dataclass(frozen=True, slots=True, kw_only=True)
class RenamePlan:
    """What is to be done: the small file has it, as JSON."""

    user: str
    old: str
    new: str
    last_seq: int  # the newest arrival that was there when the rename began
    directories: Sequence[str]  # ``old`` and those below it that were there, parents first

    def moved(self, path: str) -> str:
        """Return the new path of what is at ``path``, in the directory or itself."""
        return self.new + path.removeprefix(self.old)


class DirectoryRenames:
    """Renames directories of the drop, with the arrivals of their user. ``make`` and ``remove`` do so with one directory and its
    mirror in the store.
    """

    def __init__(
        self, resources: Resources, journal: Journal, placer: Placer, make: Callable[[str], None], remove: Callable[[str], None]
    ) -> None:
        self._resources = resources
        self._journal = journal
        self._disk = resources.disk
        self._placer = placer
        self._make = make
        self._remove = remove

    def rename(self, actor: Actor, user: str, old: str, new: str, *, require_directories: Callable[[int], None]) -> None:
        """Rename a directory that is there, to a name that is free or an empty directory's. ``require_directories`` is asked
        whether so many may come to the new place.

        Raises OwnedByAnother, NameRefused or Refused before anything is moved; an error after that says that the rest follows.
        """
        if f"{new}/".startswith(f"{old}/"):
            raise Refused("a directory cannot be moved into itself")
        plan = RenamePlan(user=user, old=old, new=new, last_seq=self._newest_below(old), directories=self._directories(old))
        count = self._require_movable(plan)
        for directory in plan.directories:
            _require_storable(directory, plan)
        require_directories(len(plan.directories))
        if count <= SLICE:
            self._carry_out(actor, plan)
            return
        with self._written_down(plan):
            self._carry_out(actor, plan)

    def finish(self) -> int:
        """Go on with renames that a crash, or trouble with the disk, cut off; returns how many came to their end."""
        done = 0
        for name in sorted(self._disk.names(self._resources.layout.renames)):
            disk_path = self._resources.layout.renames / name
            with contextlib.suppress(NoSuchFile), self._locked(disk_path) as mine:
                if mine and (plan := self._read(disk_path)) is not None:
                    log.warning("directory.rename_continued", path=plan.old, to=plan.new)
                    self._carry_out(sender(plan.user), plan)
                    self._strike_out(disk_path)
                    done += 1
        return done

    # -- before ------------------------------------------------------------------------------------------------------

    def _require_movable(self, plan: RenamePlan) -> int:
        """Refuse if a file cannot get its new path, or is not the user's to move; return how many files there are."""
        count = 0
        for page in self._pages(plan.old):
            count += len(page)
            for row in page:
                if row.state not in LIVE_STATES:
                    continue  # it was removed just now, and only its record says where it was
                if row.seq > plan.last_seq:
                    continue  # it came just now
                if not _is_movable(row, plan):
                    raise OwnedByAnother("the directory has files that are being processed or are not yours")
                _require_storable(row.path, plan)
        for page in self._pages(plan.new):
            if any(row.owner not in (plan.user, LOCAL_OWNER) and row.state in UNCLAIMED_STATES for row in page):
                raise OwnedByAnother()
        return count

    def _newest_below(self, directory: str) -> int:
        with self._resources.ledger.reading() as connection:
            return arrivals.newest_below(connection, directory)

    def _directories(self, top: str) -> list[str]:
        """Return ``top`` and the directories below it, parents first. Raises OwnedByAnother for a file that is not an arrival."""
        found = [top]
        for directory in found:
            files: list[str] = []
            for entry in self._disk.entries(self._in_drop(directory)):
                path = join(directory, entry.name)
                if entry.is_dir:
                    found.append(path)
                else:
                    files.append(path)
                if len(files) >= SLICE:
                    self._refuse_unknown(files)
                    files = []
            self._refuse_unknown(files)
        return found

    def _refuse_unknown(self, files: list[str]) -> None:
        with self._resources.ledger.reading() as connection:
            known: set[Location | None] = {row.location for row in arrivals.live_at(connection, files)}
        if any(location(Area.DROP, path) not in known for path in files):
            raise OwnedByAnother("the directory has files that are not yours")

    # -- slices ------------------------------------------------------------------------------------------------------

    def _carry_out(self, actor: Actor, plan: RenamePlan) -> None:
        directories = [path for path in plan.directories if self._disk.is_dir(self._in_drop(path))]  # some were removed since
        for directory in directories:
            with contextlib.suppress(AlreadyExists):  # an empty one, which is replaced; or what an earlier attempt made
                self._make(plan.moved(directory))
        for page in self._pages(plan.old):
            self._placer.companions.hash_first(replace(row, path=plan.moved(row.path)) for row in page if _is_movable(row, plan))
            with self._journal.change() as change:
                change.load(path for row in page for path in (row.path, plan.moved(row.path)))
                for row in page:
                    self._move(change, row, plan, actor)
            for failure in change.failures.values():
                raise failure
            self._placer.second_looks.at(change.unverified.values())
        for directory in reversed(directories):
            with contextlib.suppress(DirectoryNotEmpty, NoSuchFile):  # what came, or was claimed, meanwhile keeps its path
                self._remove(directory)

    def _move(self, change: Change, row: Arrival, plan: RenamePlan, actor: Actor) -> None:
        item = change.get(row.id)
        if item.path != row.path or not _is_movable(item, plan):
            return
        try:
            self._placer.move(change, item, plan.moved(item.path), actor=actor)
        except Refused as error:  # another's file has the path by now: this one keeps its own
            change.note("arrival.rename_refused", item, actor=actor, error=error.message)

    def _in_drop(self, path: str) -> DiskPath:
        return self._resources.layout.disk_path(location(Area.DROP, path))

    def _pages(self, directory: str) -> Iterator[list[Arrival]]:
        """Yield the live arrivals below a directory, a slice at a time; those that are moved away while this is read are not
        missed by it.
        """
        after = ("", 0)
        while True:
            with self._resources.ledger.reading() as connection:
                page = arrivals.live_below(connection, directory, after=after, limit=SLICE)
            if page:
                yield page
            if len(page) < SLICE:
                return
            after = (page[-1].path, page[-1].seq)

    # -- written down ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _written_down(self, plan: RenamePlan) -> Iterator[None]:
        disk_path = self._resources.layout.renames / new_id(self._now())
        content = json.dumps(asdict(plan), ensure_ascii=False).encode()
        self._disk.write_small(disk_path, content, durable=self._resources.durable)
        with self._locked(disk_path):
            try:
                yield
            except SftpgateError as error:
                raise Refused(
                    "the directory is renamed in part, and the rest follows by itself: "
                    f"{error.message if not error.local else 'the server has trouble with its disk'} "
                    "(rule: a large directory is renamed in slices)"
                ) from error
            self._strike_out(disk_path)

    def _strike_out(self, disk_path: DiskPath) -> None:
        """Remove what is written down of a rename that came to its end. After a power cut it must not be there again: it would
        move what got the old name since.
        """
        self._disk.unlink(disk_path)
        if self._resources.durable:
            self._disk.sync_dirs([disk_path.parent])

    def _now(self) -> datetime:
        return self._resources.clock()

    @contextlib.contextmanager
    def _locked(self, disk_path: DiskPath) -> Iterator[bool]:
        fd = self._disk.open_write(disk_path)
        try:
            yield try_lock(fd)
        finally:
            os.close(fd)

    def _read(self, disk_path: DiskPath) -> RenamePlan | None:
        try:
            return RenamePlan(**json.loads(self._disk.read_small(disk_path, _LARGEST_PLAN)))
        except (ValueError, TypeError):  # a power cut before it was durable: nothing of it was begun
            self._disk.unlink(disk_path)
            return None


def _is_movable(row: Arrival, plan: RenamePlan) -> bool:
    return row.seq <= plan.last_seq and row.owner == plan.user and row.state in UNCLAIMED_STATES


def _require_storable(path: str, plan: RenamePlan) -> None:
    """Refuse a rename by which something in the directory would get a path that no client could name."""
    try:
        check_storable(plan.moved(path))
    except NameRefused as error:
        raise NameRefused(f"something in the directory would get a path that cannot be: {error.message}") from error
