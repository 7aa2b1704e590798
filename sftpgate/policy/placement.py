"""What becomes of a complete file: store, queue, hold or drop; and of the earlier files of its name.

Pure: the situation comes in as plain values, the decision goes out as a state and a reason. This is the only place
where promise P3's rule is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import ArrivalState, HoldReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known when a complete file is placed.

    ``checksum_matches`` and ``has_done_file`` speak of companions beside the file; None where there is none. ``queued``
    and ``occupied``: the path is one of a tool that wants every arrival, and an earlier arrival of this path is waiting
    or being processed. ``is_skipped``: the batch tool that sweeps the store never takes a file of this name.
    """

    eligible: bool
    grade: Grade
    batch_locked: bool
    checksum_matches: bool | None = None
    has_done_file: bool = False
    require_done_file: bool = False
    publish_suspect: bool = False
    queued: bool = False
    occupied: bool = False
    is_skipped: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """The state that a file gets, and the reason where it is held."""

    state: ArrivalState
    hold_reason: HoldReason | None = None


def place(situation: Situation) -> Placement:
    """Where a complete file goes. What the content says comes before what its neighbours say."""
    if not situation.eligible:
        return Placement(ArrivalState.IGNORED)
    if situation.checksum_matches is False and situation.grade is not Grade.VERIFIED:
        return Placement(ArrivalState.HELD, HoldReason.CHECKSUM_MISMATCH)
    proven = situation.checksum_matches or situation.has_done_file
    if situation.grade is Grade.SUSPECT and not (proven or situation.publish_suspect):
        return Placement(ArrivalState.HELD, HoldReason.INCOMPLETE)
    if situation.is_skipped:
        return Placement(ArrivalState.HELD, HoldReason.SKIPPED_NAME)
    if situation.batch_locked:
        return Placement(ArrivalState.HELD, HoldReason.BATCH_LOCK)
    if situation.require_done_file and not situation.has_done_file:
        return Placement(ArrivalState.HELD, HoldReason.AWAITING_DONE)
    if situation.queued and situation.occupied:
        return Placement(ArrivalState.QUEUED)
    return Placement(ArrivalState.WAITING)


class Fate(StrEnum):
    """What a newer file of the same name does to an earlier one that no runner has."""

    STAYS = "stays"
    ARCHIVED = "archived"
    DROPPED = "dropped"


def fate_of_earlier(earlier: Placement, new: Placement, *, queued: bool) -> Fate:
    """P3: what is meant for a runner is kept, in the queue or in the archives; a file under a name that is never taken is
    simply overwritten.

    A file that is held itself says nothing against one that is already in the store, and a doubtful one nothing against a good
    one that is held too. A doubtful file gives way to whatever comes after it.
    """
    states = ArrivalState
    if earlier.state is states.IGNORED or new.state is states.IGNORED:
        return Fate.DROPPED if earlier.state is new.state else Fate.STAYS
    if earlier.hold_reason in _DOUBTFUL:
        return Fate.ARCHIVED
    if queued or new.hold_reason in _DOUBTFUL or (new.state is states.HELD and earlier.state is not states.HELD):
        return Fate.STAYS
    return Fate.ARCHIVED


_DOUBTFUL = frozenset({HoldReason.INCOMPLETE, HoldReason.CHECKSUM_MISMATCH})
