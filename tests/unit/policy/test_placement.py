"""States of files, and where an arrival goes."""

from __future__ import annotations

from itertools import product

import pytest

from sftpgate.errors import IllegalTransition
from sftpgate.policy.checks import Candidate
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import (
    FINAL_STATES,
    LIVE_STATES,
    PLACE_OF,
    TRANSITIONS,
    ArrivalEvent,
    ArrivalState,
    HoldReason,
    after,
)
from sftpgate.policy.placement import Fate, Placement, Situation, fate_of_earlier, place


def test_every_pair_is_decided() -> None:
    """Each event on each state is in the table or refused; what has ended stays ended."""
    for state, event in product(ArrivalState, ArrivalEvent):
        if (state, event) in TRANSITIONS:
            assert after(state, event) is TRANSITIONS[state, event]
            assert state in LIVE_STATES
        else:
            with pytest.raises(IllegalTransition):
                after(state, event)
    assert {*LIVE_STATES, *FINAL_STATES} == set(ArrivalState) == set(PLACE_OF)


def situation(**known: object) -> Situation:
    """An ordinary complete file, but for what is given."""
    of_place = {name: known.pop(name) for name in ("eligible", "queued", "occupied") if name in known}
    candidate = Candidate(**({"grade": Grade.PLAUSIBLE} | known))  # type: ignore[arg-type]  # a table of keywords
    return Situation(file=candidate, **of_place)  # type: ignore[arg-type]  # the same


@pytest.mark.promise("P1", "P3")
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (situation(), Placement(ArrivalState.WAITING)),
        (situation(eligible=False, batch_lock="alock.txt"), Placement(ArrivalState.IGNORED)),
        (situation(batch_lock="alock.txt"), Placement(ArrivalState.HELD, HoldReason.BATCH_LOCK, "alock.txt")),
        (
            situation(grade=Grade.SUSPECT, doubt="its end is missing"),
            Placement(ArrivalState.HELD, HoldReason.INCOMPLETE, "its end is missing"),
        ),
        (situation(grade=Grade.SUSPECT, publish_suspect=True), Placement(ArrivalState.WAITING)),
        (situation(grade=Grade.SUSPECT, checksum_matches=True), Placement(ArrivalState.WAITING)),
        (
            situation(checksum_matches=False, mismatch="a.csv.md5", batch_lock="alock.txt"),
            Placement(ArrivalState.HELD, HoldReason.CHECKSUM_MISMATCH, "a.csv.md5"),
        ),
        (situation(require_done_file=True), Placement(ArrivalState.HELD, HoldReason.AWAITING_DONE)),
        (situation(require_done_file=True, has_done_file=True), Placement(ArrivalState.WAITING)),
        (situation(queued=True, occupied=True), Placement(ArrivalState.QUEUED)),
        (situation(queued=True), Placement(ArrivalState.WAITING)),
    ],
)
def test_placement(found: Situation, expected: Placement) -> None:
    """What the content says comes before what lies beside it, and that before the queue."""
    assert place(found) == expected


WAITING, HELD = Placement(ArrivalState.WAITING), Placement(ArrivalState.HELD, HoldReason.BATCH_LOCK)
SUSPECT, IGNORED = Placement(ArrivalState.HELD, HoldReason.INCOMPLETE), Placement(ArrivalState.IGNORED)


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    ("earlier", "new", "queued", "expected"),
    [
        (WAITING, WAITING, False, Fate.ARCHIVED),
        (WAITING, Placement(ArrivalState.QUEUED), True, Fate.STAYS),
        (WAITING, SUSPECT, False, Fate.STAYS),
        (WAITING, HELD, False, Fate.STAYS),
        (HELD, HELD, False, Fate.ARCHIVED),
        (HELD, HELD, True, Fate.STAYS),
        (SUSPECT, WAITING, True, Fate.ARCHIVED),
        (IGNORED, IGNORED, False, Fate.DROPPED),
    ],
)
def test_fate_of_the_earlier_file(earlier: Placement, new: Placement, queued: bool, expected: Fate) -> None:
    """What is meant for a runner is kept in the queue or the archives; a doubtful file takes nobody's place."""
    assert fate_of_earlier(earlier, new, queued=queued) is expected
