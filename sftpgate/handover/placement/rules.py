"""The settings that decide where files go, and whose a name is. No disk, no ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sftpgate.errors import OwnedByAnother
from sftpgate.handover.placement.homes import Homes
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival
from sftpgate.policy.lifecycle import UNCLAIMED_STATES
from sftpgate.policy.names import NameRules
from sftpgate.policy.pointers import Pointer
from sftpgate.policy.rehearsals import NO_REHEARSALS, RehearsalRules
from sftpgate.settings.contracts import ContractSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRules:
    """The settings that decide about files. ``pointers`` is asked each time: tools can be pointed elsewhere while we run.
    ``contracts`` are those of the tools that have one, and ``rehearsals`` says what is only tried against them.
    """

    names: NameRules
    batch_lock_ttl: timedelta
    require_done_file: bool
    publish_suspect: bool
    pointers: Callable[[], Sequence[Pointer]]
    homes: Homes
    contracts: Mapping[str, ContractSettings] = field(default_factory=dict)
    rehearsals: RehearsalRules = NO_REHEARSALS

    def is_taken(self, path: str, home: str) -> bool:
        """Return whether a file under ``path``, of somebody whose home is ``home``, is ever taken for a runner."""
        return self.names.eligible(path) and self.rehearsals.rehearsed(path, home) is None

    def refuse_foreign(self, earlier: Sequence[Arrival], path: str, *, owner: str, home: str) -> None:
        """Raise OwnedByAnother if ``owner``, whose home is ``home``, cannot have ``path`` because of another user's file."""
        if not self.names.is_batch_lock(path, home):
            refuse_foreign(earlier, owner)


def refuse_foreign(earlier: Sequence[Arrival], owner: str) -> None:
    """Raise OwnedByAnother if a path has an unclaimed arrival of another user. What a local program put there is nobody's."""
    if any(item.owner not in (owner, LOCAL_OWNER) and item.state in UNCLAIMED_STATES for item in earlier):
        raise OwnedByAnother()
