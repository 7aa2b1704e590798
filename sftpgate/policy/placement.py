"""What becomes of a complete file: store, queue, hold or drop; and of the earlier files of its name.

Pure: the situation comes in as plain values, the decision goes out as a state and a reason. Why a file is held is decided in
``checks``; this is the only place where promise P3's rule is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sftpgate.policy.checks import Candidate, doubts_content, first_objection, stands_aside
from sftpgate.policy.lifecycle import ArrivalState, HoldReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known when a complete file is placed.

    ``eligible``: its name is one that runners may see. ``queued`` and ``occupied``: the path is one of a tool that wants every
    arrival, and an earlier arrival of this path is waiting or being processed.
    """

    file: Candidate
    eligible: bool = True
    queued: bool = False
    occupied: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """The state that a file gets; if it is held, the reason, and a detail of it for people if there is one. ``warning``: what its
    contract says against a file that goes on.
    """

    state: ArrivalState
    hold_reason: HoldReason | None = None
    hold_detail: str | None = None
    warning: str = ""


def place(situation: Situation) -> Placement:
    """Decide where a complete file goes: names that are never taken first, then the checks, then its turn in the queue."""
    if not situation.eligible:
        return Placement(ArrivalState.IGNORED)
    if (objection := first_objection(situation.file)) is not None:
        return Placement(ArrivalState.HELD, objection.reason, objection.detail or None)
    state = ArrivalState.QUEUED if situation.queued and situation.occupied else ArrivalState.WAITING
    return Placement(state, warning=situation.file.warning)


class Fate(StrEnum):
    """What a newer file of the same name does to an earlier one that no runner has."""

    STAYS = "stays"
    ARCHIVED = "archived"
    DROPPED = "dropped"


def fate_of_earlier(earlier: Placement, new: Placement, *, queued: bool) -> Fate:
    """Return what becomes of an earlier file. What is meant for a runner is kept, in the queue or in the archives (P3); a
    file under a name that is never taken is simply overwritten.

    A file that is held itself says nothing against one that is already in the store, and a doubtful one nothing against a good
    one that is held too. A doubtful file gives way to whatever comes after it; one that stands aside takes nobody's place, and
    gives way to what may go on.
    """
    states = ArrivalState
    if earlier.state is states.IGNORED or new.state is states.IGNORED:
        return Fate.DROPPED if earlier.state is new.state else Fate.STAYS
    if stands_aside(new.hold_reason) or (stands_aside(earlier.hold_reason) and new.state is states.HELD):
        return Fate.STAYS
    if doubts_content(earlier.hold_reason):
        return Fate.ARCHIVED
    if queued or doubts_content(new.hold_reason) or (new.state is states.HELD and earlier.state is not states.HELD):
        return Fate.STAYS
    return Fate.ARCHIVED
