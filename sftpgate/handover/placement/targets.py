"""Where a file goes by what was decided about it, and what has to make way for it there.

P3: what is meant for a runner is kept, in its queue or in the archives. Which of the earlier files of a name make way is a rule
of ``policy.placement``; what lies in the store without an arrival goes to the archives too. Everything is written into a change,
and blocks; a crash leaves what a crash of that change leaves.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence

from sftpgate.errors import IsADirectory
from sftpgate.handover.changes import Change
from sftpgate.handover.placement.batch_locks import is_own_lock
from sftpgate.handover.resources import Resources
from sftpgate.handover.second_names import SecondNames
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.checks import is_shown_by_disk
from sftpgate.policy.lifecycle import UNCLAIMED_STATES, Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import Location, location
from sftpgate.policy.names import NameRules
from sftpgate.policy.placement import Fate, Placement, fate_of_earlier


class Targets:
    """Finds the places of files, and clears them."""

    def __init__(self, resources: Resources, kept: SecondNames, names: NameRules) -> None:
        self._resources = resources
        self._kept = kept
        self._names = names

    def clear(self, change: Change, item: Arrival, new: Placement, earlier: Sequence[Arrival], *, queued: bool) -> Location:
        """Send away what has to make way for ``item``, and return where it goes. ``earlier``: the others of its path; ``queued``:
        each of that path has its turn. Raises IsADirectory before anything is sent away.
        """
        is_taken = False
        if new.state in (ArrivalState.WAITING, ArrivalState.IGNORED):
            area = Area.STORE if new.state is ArrivalState.WAITING else Area.DROP
            is_taken = has_file(self._resources, location(area, item.path))
        if fate_of_earlier(Placement(ArrivalState.QUEUED), new, queued=queued) is not Fate.STAYS:
            known = {item.id, *(other.id for other in earlier)}
            queue = [other for other in change.live_at(item.path) if other.state is ArrivalState.QUEUED and other.id not in known]
            earlier = [*earlier, *queue]
        for other in earlier:
            if other.state not in UNCLAIMED_STATES:
                continue
            match fate_of_earlier(Placement(other.state, other.hold_reason), new, queued=queued):
                case Fate.ARCHIVED:
                    change.archive(other, ArrivalEvent.REPLACED)
                case Fate.DROPPED:
                    change.event(other, ArrivalEvent.REPLACED, location=None)
                case Fate.STAYS:
                    pass
        if is_taken and new.state is ArrivalState.WAITING:
            change.keep_unknown(location(Area.STORE, item.path), item.path)
            self._kept.keep(item)
        return self.of(change, item, new)

    def of(self, change: Change, item: Arrival, new: Placement) -> Location:
        """Return where a file of this placement goes; nothing makes way for it."""
        match new.state:
            case ArrivalState.WAITING:
                return location(Area.STORE, item.path)
            case ArrivalState.QUEUED:
                return location(Area.QUEUE, item.id)
            case ArrivalState.HELD:
                in_drop = location(Area.DROP, item.path)
                if is_shown_by_disk(new.hold_reason) and (item.location == in_drop or not self._is_taken(change, in_drop)):
                    return in_drop
                return location(Area.HELD, item.id)
            case _:
                return self._beside(change, item) if is_own_lock(self._names, item) else location(Area.DROP, item.path)

    def _beside(self, change: Change, item: Arrival) -> Location:
        """Return where a sender's batch lock lies: under its name, or under its id if somebody else's lock has that."""
        in_drop = location(Area.DROP, item.path)
        has_name = any(other.location == in_drop and other.id != item.id for other in change.line_at(item.path))
        if has_name or (item.location != in_drop and self._is_taken(change, in_drop)):
            return location(Area.LOCKS, item.id)
        return in_drop

    def _is_taken(self, change: Change, where: Location) -> bool:
        return self._resources.disk.exists(self._resources.layout.disk_path(where)) and not change.vacates(where)


def has_file(resources: Resources, where: Location) -> bool:
    """Return whether something has a name that is about to be taken. Raises IsADirectory."""
    found = resources.disk.lstat(resources.layout.disk_path(where))
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise IsADirectory("a directory of this name is already there (rule: one name is one file)")
    return found is not None
