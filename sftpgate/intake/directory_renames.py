"""A sender renames a directory: each of its files gets its new path, in slices, so that nobody waits for all of them.

All that can be refused is refused before anything is moved. A rename of more than a slice is written down first, in a small file
of its own, and is then carried to its end: each slice is a change of at most ``SLICE`` files, and between two of them the others
have their turn. Meanwhile some files are seen at their old path and the rest at the new one, each once.

A crash leaves the small file, and each arrival whole at one of its two paths; start-up and the sweeper go on with it. A file that
a runner claims before its slice comes, or that somebody puts there meanwhile, keeps its path. The small file's lock says that a
live process is at it. Everything blocks.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sftpgate.errors import AlreadyExists, DirectoryNotEmpty, NameRefused, NoSuchFile, OwnedByAnother, Refused, SftpgateError
from sftpgate.intake.changes import Change
from sftpgate.intake.ids import new_id
from sftpgate.intake.moves import SLICE, Moves
from sftpgate.intake.placing import Placer
from sftpgate.ledger import arrivals
from sftpgate.ledger.actor import Actor, sender
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import LIVE_STATES, UNCLAIMED_STATES, Area
from sftpgate.policy.locations import Location, location
from sftpgate.policy.names import check_storable, join
from sftpgate.store.descriptors import try_lock
from sftpgate.store.spots import Spot

log = get_logger("moves")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done: the small file has it, as JSON."""

    user: str
    old: str
    new: str

    def moved(self, path: str) -> str:
        """The new path of what is at ``path``, in the directory or itself."""
        return self.new + path.removeprefix(self.old)


class DirectoryRenames:
    """Renames directories of the drop, with the arrivals of their user. ``make`` and ``remove`` do so with one directory and its
    mirror in the store.
    """

    def __init__(self, moves: Moves, placer: Placer, make: Callable[[str], None], remove: Callable[[str], None]) -> None:
        self._moves = moves
        self._disk = moves.disk
        self._placer = placer
        self._make = make
        self._remove = remove

    def rename(self, actor: Actor, plan: Plan, *, require_directories: Callable[[int], None]) -> None:
        """Rename a directory that is there, to a name that is free or an empty directory's. ``require_directories`` is asked
        whether so many may come to the new place.

        Raises OwnedByAnother, NameRefused or Refused before anything is moved; an error after that says that the rest follows.
        """
        if f"{plan.new}/".startswith(f"{plan.old}/"):
            raise Refused("a directory cannot be moved into itself")
        count = self._require_movable(plan)
        directories = self._directories(plan.old)
        for directory in directories:
            _require_storable(directory, plan)
        require_directories(len(directories))
        if count <= SLICE:
            self._carry_out(actor, plan, directories)
            return
        with self._written_down(plan):
            self._carry_out(actor, plan, directories)

    def finish(self) -> int:
        """Go on with renames that a crash, or trouble with the disk, cut off; returns how many came to their end."""
        done = 0
        for name in sorted(self._disk.names(self._moves.layout.renames)):
            spot = self._moves.layout.renames / name
            with contextlib.suppress(NoSuchFile), self._locked(spot) as mine:
                if mine and (plan := self._read(spot)) is not None:
                    log.warning("directory.rename_continued", path=plan.old, to=plan.new)
                    with contextlib.suppress(NoSuchFile):  # it was removed: nothing is left to do
                        self._carry_out(sender(plan.user), plan, self._directories(plan.old, refuse=False))
                    self._strike_out(spot)
                    done += 1
        return done

    # -- before ------------------------------------------------------------------------------------------------------

    def _require_movable(self, plan: Plan) -> int:
        """Refuse where a file cannot get its new path, or is not the user's to move; return how many files there are."""
        count = 0
        for page in self._pages(plan.old):
            count += len(page)
            for row in page:
                if row.state not in LIVE_STATES:
                    continue  # it was removed just now, and only its record says where it was
                if not _is_movable(row, plan):
                    raise OwnedByAnother("the directory has files that are being processed or are not yours")
                _require_storable(row.path, plan)
        for page in self._pages(plan.new):
            if any(row.owner not in (plan.user, LOCAL_OWNER) and row.state in UNCLAIMED_STATES for row in page):
                raise OwnedByAnother()
        return count

    def _directories(self, top: str, *, refuse: bool = True) -> list[str]:
        """``top`` and the directories below it, parents first; ``refuse``: where there is a file that is not an arrival."""
        found = [top]
        for directory in found:
            files: list[str] = []
            for entry in self._disk.entries(self._moves.layout.spot(location(Area.DROP, directory))):
                path = join(directory, entry.name)
                if entry.is_dir:
                    found.append(path)
                elif refuse:
                    files.append(path)
                if len(files) >= SLICE:
                    self._refuse_unknown(files)
                    files = []
            self._refuse_unknown(files)
        return found

    def _refuse_unknown(self, files: list[str]) -> None:
        with self._moves.ledger.reading() as connection:
            known: set[Location | None] = {row.location for row in arrivals.live_at(connection, files)}
        if any(location(Area.DROP, path) not in known for path in files):
            raise OwnedByAnother("the directory has files that are not yours")

    # -- slices ------------------------------------------------------------------------------------------------------

    def _carry_out(self, actor: Actor, plan: Plan, directories: list[str]) -> None:
        for directory in directories:
            with contextlib.suppress(AlreadyExists):  # an empty one, which is replaced; or what an earlier attempt made
                self._make(plan.moved(directory))
        for page in self._pages(plan.old):
            self._placer.prepare(replace(row, path=plan.moved(row.path)) for row in page if _is_movable(row, plan))
            with self._moves.change() as change:
                change.load(path for row in page for path in (row.path, plan.moved(row.path)))
                for row in page:
                    self._move(change, row, plan, actor)
            for failure in change.failures.values():
                raise failure
            self._placer.look_again(change.unverified.values())
        for directory in reversed(directories):
            with contextlib.suppress(DirectoryNotEmpty, NoSuchFile):  # what came, or was claimed, meanwhile keeps its path
                self._remove(directory)

    def _move(self, change: Change, row: Arrival, plan: Plan, actor: Actor) -> None:
        item = change.get(row.id)
        if item.path != row.path or not _is_movable(item, plan):
            return
        try:
            self._placer.move(change, item, plan.moved(item.path), actor=actor)
        except Refused as error:  # another's file has the path by now: this one keeps its own
            change.note("arrival.rename_refused", item, actor=actor, error=error.message)

    def _pages(self, directory: str) -> Iterator[list[Arrival]]:
        """The live arrivals below a directory, a slice at a time; those that are moved away while this is read are not missed by
        it.
        """
        after = ("", 0)
        while True:
            with self._moves.ledger.reading() as connection:
                page = arrivals.live_below(connection, directory, after=after, limit=SLICE)
            if page:
                yield page
            if len(page) < SLICE:
                return
            after = (page[-1].path, page[-1].seq)

    # -- written down ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _written_down(self, plan: Plan) -> Iterator[None]:
        spot = self._moves.layout.renames / new_id(self._now())
        content = json.dumps(asdict(plan), ensure_ascii=False).encode()
        self._disk.write_small(spot, content, durable=self._moves.durable)
        with self._locked(spot):
            try:
                yield
            except SftpgateError as error:
                raise Refused(
                    "the directory is renamed in part, and the rest follows by itself: "
                    f"{error.message if not error.local else 'the server has trouble with its disk'} "
                    "(rule: a large directory is renamed in slices)"
                ) from error
            self._strike_out(spot)

    def _strike_out(self, spot: Spot) -> None:
        """Remove what is written down of a rename that came to its end. After a power cut it must not be there again: it would
        move what got the old name since.
        """
        self._disk.unlink(spot)
        if self._moves.durable:
            self._disk.sync_dirs([spot.parent])

    def _now(self) -> datetime:
        return self._moves.clock()

    @contextlib.contextmanager
    def _locked(self, spot: Spot) -> Iterator[bool]:
        fd = self._disk.open_write(spot)
        try:
            yield try_lock(fd)
        finally:
            os.close(fd)

    def _read(self, spot: Spot) -> Plan | None:
        try:
            return Plan(**json.loads(self._disk.read_small(spot)))
        except (ValueError, TypeError):  # a power cut before it was durable: nothing of it was begun
            self._disk.unlink(spot)
            return None


def _is_movable(row: Arrival, plan: Plan) -> bool:
    return row.owner == plan.user and row.state in UNCLAIMED_STATES


def _require_storable(path: str, plan: Plan) -> None:
    """Refuse a rename by which something in the directory would get a path that no client could name."""
    try:
        check_storable(plan.moved(path))
    except NameRefused as error:
        raise NameRefused(f"something in the directory would get a path that cannot be: {error.message}") from error
