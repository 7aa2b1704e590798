"""Files that local programs put into drop and store: which of them can be taken, and reading one before it is.

The rule is one for both (``policy/quiet.py``), and so are its steps: ``examine`` says what each file is, ``draft_at`` reads it
and makes it durable before the change that takes it, and ``is_takeable`` looks again in that change. A file with other names
(hard links) cannot be taken: whoever has another name could change it afterwards. A file that a backup brought back was
processed before and must not run again (promise P4): it has the path, the size, the time and the content of one that came to
its end.

Everything blocks. Nothing here moves a file or changes a record of one; a draft sets the mode of a file of the drop.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime

from sftpgate.errors import LinkedFile, SftpgateError
from sftpgate.handover.changes import Change
from sftpgate.handover.local_arrivals import local_arrival
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database import identity
from sftpgate.ledger.database.connection import get_fact, set_fact
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area, ArrivalState
from sftpgate.policy.locations import Location, area_of, location, path_in
from sftpgate.policy.pointers import Pointer, tool_for
from sftpgate.policy.quiet import LocalStanding, Look, Observation, is_quiet, standing
from sftpgate.policy.restored import LAY_HERE, lay_here, left_alone
from sftpgate.store.digest import sha256_of
from sftpgate.store.kernel.open_files import has_writer

log = get_logger("local")

SEEN_LIMIT = 1000  # files that are not quiet, and restored ones, that are remembered between two passes
SEEN_SECONDS = 86400.0  # what was not seen again for so long is gone, or was taken


@contextlib.contextmanager
def opened(resources: Resources, where: Location) -> Iterator[int]:
    """Yield a descriptor of the file at ``where``, closed at the end of the block. Raises LinkedFile if it has other names."""
    fd = resources.disk.open_read(resources.layout.disk_path(where))
    try:
        if resources.disk.has_other_names(os.fstat(fd)):
            raise LinkedFile()
        yield fd
    finally:
        os.close(fd)


def draft_at(resources: Resources, where: Location, *, home: str, path: str | None = None) -> Arrival:
    """Return the draft of an arrival for the file at ``where`` in drop or store, which nobody sent; the file is durable
    then. ``path``: the path that the arrival gets, if it is not that of the file.

    Raises LinkedFile for a file that has other names, and StorageError.
    """
    with opened(resources, where) as fd:
        return draft_of(resources, fd, where, home=home, path=path)


def draft_of(
    resources: Resources, fd: int, where: Location, *, home: str, path: str | None = None, flush: bool = True
) -> Arrival:
    """Return the same for an open file; ``flush``: not if the caller makes it durable."""
    sha256 = sha256_of(fd)
    if flush and resources.durable:
        resources.disk.sync(fd)
    if area_of(where) is Area.DROP:  # in the store it has the mode that its program gave it
        resources.disk.set_mode(fd, resources.modes.file_mode, resources.modes.gid)
    made = local_arrival(path or path_in(where), os.fstat(fd), sha256=sha256, now=resources.clock(), source=area_of(where).value)
    return replace(made, home=home, pending_from=where)


def is_takeable(resources: Resources, change: Change, draft: Arrival) -> bool:
    """Return whether the file of a draft still is what was read, and nobody's: no arrival has it, and nobody writes to it.
    Asked in the change that takes it.
    """
    where = draft.pending_from
    return where is not None and not change.accounts_for(where) and is_unchanged(resources, draft, where)


def is_unchanged(resources: Resources, local: Arrival, where: Location) -> bool:
    """Return whether the file at ``where`` still is what ``local`` says, and nobody has it open for writing (promise P1).

    Asked in the change that takes it: reading a large file takes its time, and its owner may begin to write it anew meanwhile.
    """
    try:
        with opened(resources, where) as fd:
            found = os.fstat(fd)
            is_same = (found.st_ino, found.st_size, found.st_mtime_ns) == (local.inode, local.size, local.mtime_ns)
            return is_same and not has_writer(fd)
    except SftpgateError:
        return False


def left_alone_because(resources: Resources, where: Location, alike: Mapping[str, ArrivalState], *, has_tool: bool) -> str | None:
    """Return why the file at ``where`` is not taken by itself: it is one of those that came to their end
    (``arrivals.ended_alike``), and a backup brought it back. None if it is another one, if nobody processed it, or if it
    cannot be read.

    ``has_tool``: a tool is pointed at it. It is read if that decides.
    """
    reasons = {sha256: left_alone(state, has_tool=has_tool) for sha256, state in alike.items()}
    if not any(reasons.values()):
        return None
    try:
        with opened(resources, where) as fd:
            return reasons.get(sha256_of(fd))
    except SftpgateError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """What ``examine`` says of one file. ``reason``: in words, why it stays where it is until somebody does something about it;
    empty for what needs nobody.
    """

    path: str
    standing: LocalStanding
    reason: str = ""


class LocalFiles:
    """The local files of one area, drop or store. ``who`` begins the log lines; ``pointers`` is asked each time, as tools can be
    pointed elsewhere while we run. One instance per process and area.
    """

    def __init__(
        self, resources: Resources, area: Area, pointers: Callable[[], Sequence[Pointer]], *, settle_seconds: float, who: str
    ) -> None:
        self._resources = resources
        self._area = area
        self._pointers = pointers
        self._settle = settle_seconds
        self._fact = f"unquiet_{who}"
        self._refused, self._left_alone = f"{who}.refused", f"{who}.restored"
        self._seen: dict[Location, Observation] = {}
        self._remembered: str | None = None
        self._looked: dict[Location, Observation] = {}
        self._changed: dict[str, int] = {}  # change times, in nanoseconds, of the files that were examined last
        self._restored: dict[Location, tuple[int, int, str]] = {}  # inode and change time of files that were warned about

    def examine(self, paths: Collection[str]) -> list[LocalFile]:
        """Say what the files at these paths are, in their order; those that are gone by now are left out. ``remember`` after a
        pass over all files.
        """
        if not paths:
            return []
        self._changed.clear()
        found: list[tuple[str, os.stat_result | None, Mapping[str, ArrivalState]]] = []
        with self._resources.ledger.reading() as connection:
            restored_at = identity.restored_at_ns(connection)
            known = {row.location for row in arrivals.line_at(connection, paths)}
            for path in paths:
                where = location(self._area, path)
                status = None if where in known else self._resources.disk.lstat(self._resources.layout.disk_path(where))
                alike = arrivals.ended_alike(connection, path, status.st_size, status.st_mtime_ns) if status else {}
                if status is not None or where in known:
                    found.append((path, status, alike))
        return [self._examined(path, status, alike, restored_at) for path, status, alike in found]

    def _examined(
        self, path: str, status: os.stat_result | None, alike: Mapping[str, ArrivalState], restored_at: int | None
    ) -> LocalFile:
        """Say what one file is. ``status``: None if an arrival has it; ``alike``: how those of its path, size and time came to
        their end; ``restored_at``: when a backup was brought back, in nanoseconds.
        """
        where, reason = location(self._area, path), ""
        if status is not None:
            self._changed[path] = status.st_ctime_ns
        quiet = status is not None and self._is_quiet(where, status)
        linked = quiet and status is not None and self._is_linked(path, status)
        if linked:
            reason = LinkedFile().message
        elif quiet and status is not None:
            reason = self._why_left_alone(where, status, alike, restored_at) or ""
        found = standing(is_known=status is None, is_quiet=quiet, is_linked=linked, is_restored=bool(reason) and not linked)
        return LocalFile(path=path, standing=found, reason=reason)

    def lain_since(self, path: str) -> datetime | None:
        """Return since when a file of the last ``examine`` has lain there as it is; None if it was none of them."""
        changed = self._changed.get(path)
        return None if changed is None else datetime.fromtimestamp(changed / 1e9, UTC)

    def draft(self, path: str, *, home: str = "", flush: bool = True) -> Arrival | None:
        """Return the draft of an arrival for the file at ``path`` (see ``draft_of``); None if somebody writes to it, or if it
        cannot be taken.
        """
        where = location(self._area, path)
        try:
            with opened(self._resources, where) as fd:
                return None if has_writer(fd) else draft_of(self._resources, fd, where, home=home, flush=flush)
        except SftpgateError as error:
            log.warning(self._refused, path=path, reason=error.message)
            return None

    def remember(self) -> None:
        """Keep what was seen unquiet in this pass, for the next one, which another process may make."""
        if self._remembered is None:
            return  # there was nothing unquiet, neither before nor now
        now = self._resources.time.read()
        kept = {where: seen for where, seen in self._seen.items() if now.uptime - seen.since < SEEN_SECONDS}
        self._seen, self._looked = kept | self._looked, {}
        found = [[where, *astuple(seen.look), seen.since] for where, seen in list(self._seen.items())[-SEEN_LIMIT:]]
        text = json.dumps([now.boot, found])
        if text == self._remembered or (not found and not json.loads(self._remembered)[1]):
            return
        with contextlib.suppress(SftpgateError), self._resources.ledger.transaction() as connection:
            set_fact(connection, self._fact, text)  # without it a file is taken one pass later
        self._remembered = text

    def _is_quiet(self, where: Location, status: os.stat_result) -> bool:
        """Return whether the file at ``where`` is complete (``policy/quiet.py``)."""
        look = Look(status.st_ino, status.st_size, status.st_ctime_ns)
        now = self._resources.time.read()
        steady = self._resources.time.steady_seconds(now)
        if is_quiet(look, None, self._settle, wall=now.wall, uptime=now.uptime, steady=steady):
            return True
        if self._remembered is None:
            self._load(now.boot)
        before = self._seen.get(where)
        if len(self._looked) < SEEN_LIMIT:
            self._looked[where] = before if before is not None and before.look == look else Observation(look, now.uptime)
        # Once is not enough, however short the time to settle is: it must have been seen before.
        return is_quiet(look, before, self._settle, wall=now.wall, uptime=now.uptime, steady=steady)

    def _load(self, boot: str) -> None:
        with self._resources.ledger.reading() as connection:
            self._remembered = get_fact(connection, self._fact) or json.dumps([boot, []])
        known_boot, found = json.loads(self._remembered)
        if known_boot == boot:  # an uptime of another boot means nothing
            self._seen = {where: Observation(Look(*look), since) for where, *look, since in found}

    def _is_linked(self, path: str, status: os.stat_result) -> bool:
        if not self._resources.disk.has_other_names(status):
            return False
        log.warning(self._refused, path=path, reason=LinkedFile().message)
        return True

    def _why_left_alone(
        self, where: Location, status: os.stat_result, alike: Mapping[str, ArrivalState], restored_at: int | None
    ) -> str | None:
        """Return why a file is not taken: it came to its end before, or may have, a backup brought it back, and it must not run
        again (promise P4); None if it is another one. Its content is read once for as long as it stays as it is.
        """
        lies_here = lay_here(status.st_ctime_ns, restored_at)
        if not alike and not lies_here:
            self._restored.pop(where, None)
            return None
        seen = (status.st_ino, status.st_ctime_ns)
        if (known := self._restored.get(where)) is not None and known[:2] == seen and lies_here == (known[2] == LAY_HERE):
            return known[2]
        if lies_here:
            reason: str | None = LAY_HERE
        else:
            has_tool = tool_for(path_in(where), self._pointers()) is not None
            reason = left_alone_because(self._resources, where, alike, has_tool=has_tool)
        if reason is not None and (where in self._restored or len(self._restored) < SEEN_LIMIT):
            self._restored[where] = (*seen, reason)
            log.warning(self._left_alone, path=path_in(where), reason=reason)
        return reason
