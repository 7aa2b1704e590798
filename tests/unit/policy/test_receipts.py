"""What receipts say: each state and event of an arrival is answered, and the document has every code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sftpgate.policy.actions import Action
from sftpgate.policy.lifecycle import FINAL_STATES, TRANSITIONS, ArrivalEvent, ArrivalState, HoldReason
from sftpgate.policy.receipts import EVENTS, FileStatement, LastReceipt, ReceiptState, RecordedEvent, is_news, standing
from sftpgate.policy.runs import RunOutcome

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs/receipts/README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(?P<state>[a-z]+)` \| (?P<codes>`.+?`) \| (?P<final>yes|no) \| `(?P<action>[a-z]+)` \|", re.MULTILINE)
BEFORE = LastReceipt(state=ReceiptState.HELD, code="incomplete", path="a.csv", text="x")


def happened(event: ArrivalEvent, state: ArrivalState, **more: object) -> RecordedEvent:
    """Something that happened to ``a.csv``."""
    name = f"arrival.{event.replace(' ', '_')}"
    return RecordedEvent(event=name, path="a.csv", state=state, **more)  # type: ignore[arg-type]  # of the parameters


def everything() -> list[FileStatement]:
    """What can be said, of every event of the table, outcome, reason and what was said before."""
    found = []
    for (_, event), state in TRANSITIONS.items():
        reasons = list(HoldReason) if state is ArrivalState.HELD else [None]
        for reason in reasons:
            for outcome in (None, *RunOutcome):
                what = happened(event, state, reason=reason, outcome=outcome)
                found += [standing(what, told) for told in (None, BEFORE)]
    found.append(standing(RecordedEvent(event="arrival.taken_back", path="a.csv", state=ArrivalState.WITHDRAWN), None))
    found.append(standing(RecordedEvent(event="arrival.pruned", path="a.csv", state=ArrivalState.QUARANTINED), None))
    return [each for each in found if each is not None]


def test_each_event_is_followed() -> None:
    """Every event that changes the state of an arrival is one that receipts follow, but for a claim."""
    known = {f"arrival.{event.replace(' ', '_')}" for _, event in TRANSITIONS}
    assert known - EVENTS == {"arrival.claimed"}


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_each_end_is_said(state: ArrivalState) -> None:
    """A file that comes to its end has a final receipt, which does not let its sender wait."""
    said = standing(happened(ArrivalEvent.DONE, state), None)
    assert said is not None
    assert said.final
    assert said.action is not Action.WAIT


def test_the_document_has_every_code() -> None:
    """The table of docs/receipts/README.md is what can be said: state, code, whether it is final, and the action."""
    listed = {
        (row["state"], code, row["final"] == "yes", row["action"])
        for row in ROW.finditer(DOCUMENT)
        for code in re.findall(r"`([a-z-]+)`", row["codes"])
    }
    assert listed == {(said.state.value, said.code, said.final, said.action.value) for said in everything()}


def test_nothing_is_said_twice() -> None:
    """What a sender was told last is no news; a new path, or another reason, is."""
    [said] = [standing(happened(ArrivalEvent.HELD, ArrivalState.HELD, reason=HoldReason.INCOMPLETE, detail="x"), None)]
    assert said is not None
    told = LastReceipt(state=said.state, code=said.code, path="a.csv", text=said.english)
    assert not is_news(said, "a.csv", told)
    assert is_news(said, "b.csv", told)
    assert is_news(said, "a.csv", None)
    other = standing(happened(ArrivalEvent.HELD, ArrivalState.HELD, reason=HoldReason.INCOMPLETE, detail="y"), told)
    assert other is not None and is_news(other, "a.csv", told)
