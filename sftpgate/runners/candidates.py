"""What a tool could take next: arrivals that wait, and files that lie in the store without the gate's knowledge.

Local programs generate command files straight into the store. Such a file is taken once it did not change for
``settle_seconds`` and nobody has it open for writing, as the sweeper does it in the drop: it is read and made durable here,
before the change that adopts it, so that nobody waits for that. Everything blocks; nothing here changes a state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sftpgate.errors import SftpgateError
from sftpgate.intake.changes import Change
from sftpgate.intake.drafts import local_arrival
from sftpgate.intake.local import LocalFiles, digest_and_flush
from sftpgate.intake.moves import SLICE, Moves
from sftpgate.ledger import arrivals, runs
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import get_logger
from sftpgate.policy.clocks import is_due
from sftpgate.policy.lifecycle import Area, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.policy.names import NameRules, is_storable, join
from sftpgate.policy.runs import RunOutcome
from sftpgate.policy.series import oldest_first
from sftpgate.policy.tools import Pointer, is_pattern, matches, tool_for

log = get_logger("runner")

_ORDERED = 500  # files of a pattern that are put in order: of more, those that came later wait for their turn
_PAGE = 100  # rows of one query: nearly always the first one is taken
ADOPTED_AT_ONCE = SLICE  # local files that become arrivals in one change

Find = Callable[..., list[Arrival]]


class Candidates:
    """Finds what a tool may take. ``pointers`` is asked each time: tools can be pointed elsewhere while we run."""

    def __init__(
        self, moves: Moves, names: NameRules, pointers: Callable[[], Sequence[Pointer]], *, settle_seconds: float
    ) -> None:
        self._moves = moves
        self._names = names
        self._pointers = pointers
        self._local = LocalFiles(moves, settle_seconds, "runner")

    # -- arrivals ----------------------------------------------------------------------------------------------------

    def waiting(self, change: Change, tool: str) -> Iterator[Arrival]:
        """The arrivals that wait for the tool, oldest first, as the ledger has them: not yet settled."""
        return self._waiting(partial(arrivals.find, change.connection), tool)

    def all_waiting(self, tool: str) -> list[Arrival]:
        """The same, by a look from outside."""
        with self._moves.ledger.reading() as connection:
            return list(self._waiting(partial(arrivals.find, connection), tool))

    def all_due(self, tool: str) -> list[Arrival]:
        """Those of them that may be tried now."""
        now = self._moves.clock()
        return [item for item in self.all_waiting(tool) if is_due(item.not_before, item.changed_at, now)]

    def has_waiting(self, tool: str) -> bool:
        """Whether an arrival waits for the tool, whether it may be tried now or later."""
        with self._moves.ledger.reading() as connection:
            return any(True for _ in self._waiting(partial(arrivals.find, connection), tool))

    def has_due(self, tool: str, skip: Collection[str] = ()) -> bool:
        """Whether an arrival waits for the tool that may be tried now and is not among ``skip``."""
        now = self._moves.clock()
        with self._moves.ledger.reading() as connection:
            rows = self._waiting(partial(arrivals.find, connection), tool)
            return any(row.id not in skip and is_due(row.not_before, row.changed_at, now) for row in rows)

    def is_put_off(self, tool: str) -> bool:
        """Whether the tool's last file was not to blame and waits for its next try.

        Until then the tool takes no other: what was missing is missing for all of them, and their order is to be kept.
        """
        with self._moves.ledger.reading() as connection:
            last = runs.last_of_tool(connection, tool)
            if last is None or last.outcome is not RunOutcome.NOT_THE_FILE:
                return False
            found = arrivals.find(connection, ids=[last.arrival])
        now = self._moves.clock()
        return any(item.state is ArrivalState.WAITING and not is_due(item.not_before, item.changed_at, now) for item in found)

    def _waiting(self, find: Find, tool: str) -> Iterator[Arrival]:
        pointers = self._pointers()
        pointer = next(pointer for pointer in pointers if pointer.tool == tool)
        if not any(map(is_pattern, pointer.files)):
            find = partial(find, paths=pointer.files)
        elif len(pointer.files) == 1:
            find = partial(find, glob=pointer.files[0])  # finds more: * matches / in the ledger
        ordered = any(map(is_pattern, pointer.files))
        last = 0
        while rows := find(states=[ArrivalState.WAITING], after_seq=last, limit=_ORDERED if ordered else _PAGE):
            last = rows[-1].seq
            mine = [row for row in rows if tool_for(row.path, pointers) == tool]
            yield from (mine[number] for number in oldest_first([row.path for row in mine])) if ordered else mine

    # -- local files -------------------------------------------------------------------------------------------------

    def unknown_files(self, tool: str) -> list[str]:
        """The paths in the store, for this tool, of files that are no arrivals.

        Left out: those that are not quiet yet, those with other names, and those that a backup brought back.
        """
        pointers = self._pointers()
        pointer = next(pointer for pointer in pointers if pointer.tool == tool)
        found = {path for file in pointer.files for path in self._expand(file) if self._is_candidate(path, tool, pointers)}
        if not found:
            return []
        alike: dict[str, dict[str, ArrivalState]] = {}
        with self._moves.ledger.reading() as connection:
            known = {row.location for row in arrivals.find(connection, live=True, paths=found)}
            for path in sorted(found):
                where = location(Area.STORE, path)
                status = None if where in known else self._status(path)
                if status is not None and self._local.is_quiet(where, status) and not self._local.is_linked(path, status):
                    alike[path] = arrivals.ended_alike(connection, path, status.st_size, status.st_mtime_ns)
        self._local.remember()
        return [path for path, digests in alike.items() if not self._is_restored(path, digests)]

    def drafts(self, tool: str) -> list[Arrival]:
        """Drafts of the unknown files, read and durable, oldest first."""
        found = [self._draft(path) for path in self.unknown_files(tool)]
        drafts = [draft for draft in found if draft is not None]
        drafts.sort(key=lambda draft: draft.mtime_ns)
        return [drafts[number] for number in oldest_first([draft.path for draft in drafts])][:ADOPTED_AT_ONCE]

    def _expand(self, file: str) -> Iterator[str]:
        """The paths of regular files in the store that fit a name or pattern."""
        directories = [""]
        *above, last = file.split("/")
        for part in above:
            directories = [join(base, name) for base in directories for name in self._names_in(base, part, directory=True)]
        for base in directories:
            yield from (join(base, name) for name in self._names_in(base, last, directory=False))

    def _names_in(self, base: str, part: str, *, directory: bool) -> list[str]:
        if not is_pattern(part):
            found = self._moves.disk.lstat(self._moves.layout.spot(location(Area.STORE, join(base, part))))
            is_dir = found is not None and self._moves.disk.is_dir(
                self._moves.layout.spot(location(Area.STORE, join(base, part)))
            )
            return [part] if found is not None and is_dir == directory else []
        try:
            entries = list(self._moves.disk.entries(self._moves.layout.spot(location(Area.STORE, base))))
        except SftpgateError:
            return []
        return [entry.name for entry in entries if (entry.is_dir if directory else entry.is_file) and matches(part, entry.name)]

    def _is_candidate(self, path: str, tool: str, pointers: Sequence[Pointer]) -> bool:
        return is_storable(path) and self._names.eligible(path) and tool_for(path, pointers) == tool

    def _status(self, path: str) -> os.stat_result | None:
        return self._moves.disk.lstat(self._moves.layout.spot(location(Area.STORE, path)))

    def _is_restored(self, path: str, alike: Mapping[str, ArrivalState]) -> bool:
        status = self._status(path)
        where = location(Area.STORE, path)
        return status is not None and self._local.why_left_alone(where, status, alike, has_tool=True) is not None

    def _draft(self, path: str) -> Arrival | None:
        where, now = location(Area.STORE, path), self._moves.clock()

        def made(fd: int) -> Arrival:
            sha256 = digest_and_flush(self._moves, fd)
            draft = local_arrival(path, os.fstat(fd), sha256=sha256, now=now, source="store")
            return replace(draft, state=ArrivalState.WAITING, location=where)

        return self._local.draft(where, made)
