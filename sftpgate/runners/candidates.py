"""What a tool could take next: arrivals that wait, and files that lie in the store without the gate's knowledge.

Local programs generate command files straight into the store. Such a file is taken by the rule for all local files
(``handover/local_files.py``): it is read and made durable here, before the change that takes it, so that nobody waits for that.
Everything blocks; nothing here changes a state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from functools import partial

from sftpgate.errors import SftpgateError
from sftpgate.handover.changes import Change
from sftpgate.handover.journal import SLICE
from sftpgate.handover.local_files import LocalFiles
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.overview import put_off_until
from sftpgate.logs import get_logger
from sftpgate.policy.clocks import is_due
from sftpgate.policy.lifecycle import Area, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.policy.names import NameRules, is_storable, join
from sftpgate.policy.pointers import Pointer, is_pattern, matches, paths_that_fit, tool_for
from sftpgate.policy.quiet import LocalStanding
from sftpgate.policy.series import oldest_first

log = get_logger("runner")

_ORDERED = 500  # files of a pattern that are put in order: of more, those that came later wait for their turn
_PAGE = 100  # rows of one query: nearly always the first one is taken
ADOPTED_AT_ONCE = SLICE  # local files that become arrivals in one change

Find = Callable[..., list[Arrival]]


class Candidates:
    """Finds what a tool may take. ``pointers`` is asked each time: tools can be pointed elsewhere while we run."""

    def __init__(
        self, resources: Resources, names: NameRules, pointers: Callable[[], Sequence[Pointer]], *, settle_seconds: float
    ) -> None:
        self._resources = resources
        self._names = names
        self._pointers = pointers
        self._local = LocalFiles(resources, Area.STORE, pointers, settle_seconds=settle_seconds, who="runner")

    # -- arrivals ----------------------------------------------------------------------------------------------------

    def waiting(self, change: Change, tool: str) -> Iterator[Arrival]:
        """Return the arrivals that wait for the tool, oldest first, as the ledger has them: not yet settled."""
        return self._waiting(partial(arrivals.find, change.connection), tool)

    def all_waiting(self, tool: str) -> list[Arrival]:
        """Return the same, by a look from outside."""
        with self._resources.ledger.reading() as connection:
            return list(self._waiting(partial(arrivals.find, connection), tool))

    def all_due(self, tool: str) -> list[Arrival]:
        """Return those of them that may be tried now."""
        now = self._resources.clock()
        return [item for item in self.all_waiting(tool) if is_due(item.not_before, item.changed_at, now)]

    def has_waiting(self, tool: str) -> bool:
        """Return whether an arrival waits for the tool, whether it may be tried now or later."""
        with self._resources.ledger.reading() as connection:
            return any(True for _ in self._waiting(partial(arrivals.find, connection), tool))

    def has_due(self, tool: str, skip: Collection[str] = ()) -> bool:
        """Return whether an arrival waits for the tool that may be tried now and is not among ``skip``."""
        now = self._resources.clock()
        with self._resources.ledger.reading() as connection:
            rows = self._waiting(partial(arrivals.find, connection), tool)
            return any(row.id not in skip and is_due(row.not_before, row.changed_at, now) for row in rows)

    def is_put_off(self, tool: str) -> bool:
        """Return whether the tool waits for the next try of a file that was not to blame."""
        return self.put_off_until(tool) is not None

    def put_off_until(self, tool: str) -> datetime | None:
        """Return when it tries that file again (``overview.put_off_until``)."""
        with self._resources.ledger.reading() as connection:
            return put_off_until(connection, tool, self._resources.clock())

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
        """Return the paths in the store, for this tool, of files that are no arrivals and could be taken now."""
        pointers = self._pointers()
        pointer = next(pointer for pointer in pointers if pointer.tool == tool)
        found = {
            path
            for file in pointer.files
            for path in paths_that_fit(file, self._names_in)
            if self._is_candidate(path, tool, pointers)
        }
        examined = self._local.examine(sorted(found))
        self._local.remember()
        return [file.path for file in examined if file.standing is LocalStanding.FREE]

    def drafts(self, tool: str) -> list[Arrival]:
        """Return drafts of the unknown files, read and durable, oldest first."""
        found = [draft for path in self.unknown_files(tool) if (draft := self._local.draft(path)) is not None]
        found.sort(key=lambda draft: draft.mtime_ns)
        return [found[number] for number in oldest_first([draft.path for draft in found])][:ADOPTED_AT_ONCE]

    def lain_since(self, path: str) -> datetime | None:
        """Return since when one of these files has lain there as it is; None if it was not looked at."""
        return self._local.lain_since(path)

    def _names_in(self, base: str, part: str, is_last: bool) -> list[str]:
        """Return the names in a directory that a part of a pattern fits: of files if it is the last, else of directories."""
        if not is_pattern(part):
            found = self._resources.disk.lstat(self._resources.layout.disk_path(location(Area.STORE, join(base, part))))
            is_dir = found is not None and self._resources.disk.is_dir(
                self._resources.layout.disk_path(location(Area.STORE, join(base, part)))
            )
            return [part] if found is not None and is_dir is not is_last else []
        try:
            entries = list(self._resources.disk.entries(self._resources.layout.disk_path(location(Area.STORE, base))))
        except SftpgateError:
            return []
        return [entry.name for entry in entries if (entry.is_file if is_last else entry.is_dir) and matches(part, entry.name)]

    def _is_candidate(self, path: str, tool: str, pointers: Sequence[Pointer]) -> bool:
        return is_storable(path) and self._names.eligible(path) and tool_for(path, pointers) == tool
