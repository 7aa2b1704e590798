"""The list of checks: one entry is all of a check, and nothing else lists the reasons of holds."""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sftpgate.policy import checks
from sftpgate.policy.actions import Action
from sftpgate.policy.checks import CHECKS, MAX_DETAIL, Candidate, Check, HeldFile, HoldCause, check_of, objections
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.phrases import sentence
from sftpgate.policy.placement import Placement, Situation, place

PACKAGE = Path(__file__).resolve().parents[3] / "sftpgate"
GOOD = Candidate(grade=Grade.PLAUSIBLE)

# Who speaks of a reason by its name, and why that is not a list: what follows from a reason stands in ``CHECKS``.
MAY_NAME = {
    "policy/lifecycle.py": set(HoldReason),  # defines them
    "policy/checks.py": set(HoldReason),
    "handover/placement/second_looks.py": {HoldReason.BATCH_LOCK},  # whose files are released together
    "upkeep/sweep.py": {HoldReason.BATCH_LOCK},
    "upkeep/notices.py": {HoldReason.BATCH_LOCK, HoldReason.CONTRACT},  # whose lock it is now; all that a contract objects to
    "policy/notification_rules.py": {HoldReason.AWAITING_DONE, HoldReason.BATCH_LOCK, HoldReason.UNCHECKED},  # no news
    "gateway/close_verdicts.py": {HoldReason.CONTRACT, HoldReason.UNCHECKED},  # what a CLOSE is answered
    "policy/expectations.py": {HoldReason.UNCHECKED},  # it has arrived, and its contract will say if it is good
    "upkeep/notifications/wording.py": {HoldReason.CONTRACT},  # what it objects to is told
    "handover/contracts/conversions.py": {HoldReason.UNCHECKED},  # what is converted before it is judged
    "policy/receipts.py": {HoldReason.UNCHECKED},  # nothing that its sender has to hear of as a hold
    "upkeep/receipts/writer.py": {HoldReason.BATCH_LOCK, HoldReason.CONTRACT},  # as in the notices
    "app/arrivals.py": {HoldReason.CONTRACT, HoldReason.RESTORED},  # the same; what is released together
    "handover/guard.py": {HoldReason.UNCHECKED},  # what it judges
    "handover/placement/contract_verdicts.py": {
        HoldReason.UNCHECKED,  # what was judged
        HoldReason.CONTRACT,
        HoldReason.APPROVAL,  # what was made here, if the ledger that said so is lost
    },
    "upkeep/brought_back.py": {HoldReason.RESTORED},  # what it holds
    "depot/deposits.py": {HoldReason.RESTORED},  # released, it may be held again for what it was held for before
    "handover/placement/placer.py": {HoldReason.RESTORED},  # what is asked anew when people let it go
    "app/status/collecting.py": {HoldReason.BATCH_LOCK},
    "handover/placement/decision.py": {HoldReason.INCOMPLETE, HoldReason.RESTORED},  # what was said of it when it came
    "ledger/database/migrations.py": {HoldReason.INCOMPLETE},  # the same, of an earlier ledger
    "upkeep/recovery.py": {HoldReason.INCOMPLETE},  # what a note says of the grade
}


@pytest.mark.promise("P7")
def test_each_reason_has_one_check() -> None:
    """Every reason for a hold is one entry of the list, with two sentences for the sender and one for the admin."""
    assert sorted(check.reason for check in CHECKS) == sorted(HoldReason)
    for check in CHECKS:
        for held in (HeldFile(name="a.csv"), HeldFile(name="a.csv", detail="alock.txt", is_own_lock=False)):
            because, to_do = check.for_sender(held)
            assert str(because).endswith(".") and str(to_do).endswith(".")
        assert check.for_admin
        assert check.report_after >= timedelta(0)
        assert check_of(check.reason) is check


@pytest.mark.promise("P1")
def test_a_file_whose_content_is_in_doubt_lies_apart() -> None:
    """What may be half a file never lies in the drop, where a sweep without the ledger would take it."""
    assert not [check.reason for check in CHECKS if check.shown_by_disk and check.doubts_content]


def test_nothing_else_lists_reasons() -> None:
    """A reason for a hold is named by its check, and by those that have to do something of their own with it."""
    named: dict[str, set[HoldReason]] = {}
    for module in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "HoldReason":
                named.setdefault(str(module.relative_to(PACKAGE)), set()).add(HoldReason[node.attr])
    for module_name, reasons in named.items():
        assert reasons <= MAY_NAME.get(module_name, set()), module_name


def test_an_entry_is_all_of_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that is added to the list holds files, in its place in the order, with its detail."""
    too_small = Check(
        reason=HoldReason.INCOMPLETE,
        objects=lambda file: "3 rows, 300 are due" if file.doubt == "rows" else None,
        called=sentence("too small"),
        for_sender=lambda held: (sentence("It has {detail}.", detail=held.detail), sentence("Send it whole.")),
        action=Action.RESEND,
        for_admin="look at it",
        report_after=timedelta(0),
    )
    monkeypatch.setattr(checks, "CHECKS", (*CHECKS, too_small))
    assert place(Situation(file=GOOD)) == Placement(ArrivalState.WAITING)
    small = replace(GOOD, doubt="rows")
    held = Placement(ArrivalState.HELD, HoldReason.INCOMPLETE, "3 rows, 300 are due")
    assert place(Situation(file=small)) == held
    locked = replace(small, batch_lock="alock.txt")
    assert list(objections(locked)) == [
        HoldCause(HoldReason.BATCH_LOCK, "alock.txt"),
        HoldCause(HoldReason.INCOMPLETE, "3 rows, 300 are due"),
    ]


def test_a_detail_is_bounded_and_printable() -> None:
    """Text from strangers is data: what a detail has of it is one line of bounded length, without control characters."""
    [found] = objections(replace(GOOD, grade=Grade.SUSPECT, doubt="a\nb\x00" + "x" * 5000))
    assert found.detail.startswith("a\\nb\\x00") and found.detail.isprintable()
    assert len(found.detail) <= MAX_DETAIL * 10
