"""Files that local programs put into drop and store: reading one before it is taken, and knowing one again.

A file with other names (hard links) is none that can be taken: whoever has another name could change it afterwards. A file
that a backup brought back was processed before and must not run again (promise P4): it has the path, the size, the time
and the content of one that came to its end. Everything blocks; nothing here changes a file or a record.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple

from sftpgate.errors import LinkedFile, SftpgateError
from sftpgate.intake.digest import sha256_of
from sftpgate.intake.moves import Moves
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database import get_fact, set_fact
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.locations import Location, path_in
from sftpgate.policy.quiet import Look, Seen, is_quiet
from sftpgate.policy.restored import left_alone
from sftpgate.store.descriptors import has_writer

log = get_logger("local")

SEEN_LIMIT = 1000  # files that are not quiet, and restored ones, that are remembered between two passes
SEEN_SECONDS = 86400.0  # what was not seen again for so long is gone, or was taken


@contextlib.contextmanager
def opened(moves: Moves, where: Location) -> Iterator[int]:
    """A descriptor of the file at ``where``, closed at the end of the block. Raises LinkedFile where it has other names."""
    fd = moves.disk.open_read(moves.layout.spot(where))
    try:
        if moves.disk.has_other_names(os.fstat(fd)):
            raise LinkedFile()
        yield fd
    finally:
        os.close(fd)


def digest_and_flush(moves: Moves, fd: int, *, flush: bool = True) -> str:
    """The SHA-256 of an open file, whose content is durable then; ``flush``: not where the caller sees to that."""
    sha256 = sha256_of(fd)
    if flush and moves.durable:
        moves.disk.sync(fd)
    return sha256


def is_unchanged(moves: Moves, draft: Arrival, where: Location) -> bool:
    """Whether the file at ``where`` still is what ``draft`` says, and nobody has it open for writing (promise P1).

    Asked in the change that takes it: reading a large file takes its time, and its owner may begin to write it anew meanwhile.
    """
    try:
        with opened(moves, where) as fd:
            found = os.fstat(fd)
            is_same = (found.st_ino, found.st_size, found.st_mtime_ns) == (draft.inode, draft.size, draft.mtime_ns)
            return is_same and not has_writer(fd)
    except SftpgateError:
        return False


def left_alone_because(moves: Moves, where: Location, alike: Mapping[str, ArrivalState], *, has_tool: bool) -> str | None:
    """Why the file at ``where`` is not taken by itself: it is one of those that came to their end (``arrivals.ended_alike``), and
    a backup brought it back. None where it is another one, where nobody processed it, or where it cannot be read.

    ``has_tool``: a tool is pointed at it. It is read where that decides.
    """
    reasons = {sha256: left_alone(state, has_tool=has_tool) for sha256, state in alike.items()}
    if not any(reasons.values()):
        return None
    try:
        with opened(moves, where) as fd:
            return reasons.get(sha256_of(fd))
    except SftpgateError:
        return None


class LocalFiles:
    """What decides about a local file before it is taken, in the drop and in the store alike. ``who`` begins its log lines."""

    def __init__(self, moves: Moves, settle_seconds: float, who: str) -> None:
        self._moves = moves
        self._settle = settle_seconds
        self._fact = f"unquiet_{who}"
        self._refused, self._left_alone = f"{who}.refused", f"{who}.restored"
        self._seen: dict[Location, Seen] = {}
        self._remembered: str | None = None
        self._looked: dict[Location, Seen] = {}
        self._restored: dict[Location, tuple[int, int, str]] = {}  # inode and change time of files that were warned about

    def is_quiet(self, where: Location, status: os.stat_result) -> bool:
        """Whether the file at ``where`` is complete (``policy/quiet.py``). ``remember`` after a pass over all files."""
        look = Look(status.st_ino, status.st_size, status.st_ctime_ns)
        now = self._moves.time.read()
        steady = self._moves.time.steady_seconds(now)
        if is_quiet(look, None, self._settle, wall=now.wall, uptime=now.uptime, steady=steady):
            return True
        if self._remembered is None:
            self._load(now.boot)
        before = self._seen.get(where)
        is_known = before is not None and before.look == look
        if len(self._looked) < SEEN_LIMIT:
            self._looked[where] = before if before is not None and is_known else Seen(look, now.uptime)
        # Once is not enough, however short the time to settle is: it must have been seen before.
        return is_known and is_quiet(look, before, self._settle, wall=now.wall, uptime=now.uptime, steady=steady)

    def remember(self) -> None:
        """Keep what was seen unquiet in this pass, for the next one, which another process may make."""
        if self._remembered is None:
            return  # there was nothing unquiet, neither before nor now
        now = self._moves.time.read()
        kept = {where: seen for where, seen in self._seen.items() if now.uptime - seen.since < SEEN_SECONDS}
        self._seen, self._looked = kept | self._looked, {}
        found = [[where, *astuple(seen.look), seen.since] for where, seen in list(self._seen.items())[-SEEN_LIMIT:]]
        text = json.dumps([now.boot, found])
        if text == self._remembered or (not found and not json.loads(self._remembered)[1]):
            return
        with contextlib.suppress(SftpgateError), self._moves.ledger.transaction() as connection:
            set_fact(connection, self._fact, text)  # without it a file is taken one pass later
        self._remembered = text

    def _load(self, boot: str) -> None:
        with self._moves.ledger.reading() as connection:
            self._remembered = get_fact(connection, self._fact) or json.dumps([boot, []])
        known_boot, found = json.loads(self._remembered)
        if known_boot == boot:  # an uptime of another boot means nothing
            self._seen = {where: Seen(Look(*look), since) for where, *look, since in found}

    def is_linked(self, path: str, status: os.stat_result) -> bool:
        """Whether a file has other names (hard links): one that somebody could change after it was taken."""
        if not self._moves.disk.has_other_names(status):
            return False
        log.warning(self._refused, path=path, reason=LinkedFile().message)
        return True

    def why_left_alone(
        self, where: Location, status: os.stat_result, alike: Mapping[str, ArrivalState], *, has_tool: bool
    ) -> str | None:
        """Why a file is not taken: it came to its end before, a backup brought it back, and it must not run again (promise P4);
        None where it is another one. ``alike``: how those of its path, size and time came to their end; ``has_tool``: a tool is
        pointed at it. Its content is read once for as long as it stays as it is.
        """
        if not alike:
            return None
        seen = (status.st_ino, status.st_ctime_ns)
        if (known := self._restored.get(where)) is not None and known[:2] == seen:
            return known[2]
        reason = left_alone_because(self._moves, where, alike, has_tool=has_tool)
        if reason is not None and (where in self._restored or len(self._restored) < SEEN_LIMIT):
            self._restored[where] = (*seen, reason)
            log.warning(self._left_alone, path=path_in(where), reason=reason)
        return reason

    def draft(self, where: Location, make: Callable[[int], Arrival]) -> Arrival | None:
        """What ``make`` makes of the open file at ``where``; None where somebody writes to it, or where it cannot be taken."""
        try:
            with opened(self._moves, where) as fd:
                return None if has_writer(fd) else make(fd)
        except SftpgateError as error:
            log.warning(self._refused, path=path_in(where), reason=error.message)
            return None
