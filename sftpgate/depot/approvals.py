"""What people decide about a file that the contract of its tool holds: they approve it, or they reject it.

Both are acts in a change, which the caller has opened. An approval lets one file go, for two hours and with the verdict that it
has now (``ledger.contracts.approvals``); it loosens the contract for no other file. A rejected file ends, and its content is
kept in the archives. Everything blocks.
"""

from __future__ import annotations

import os

from sftpgate.errors import NoSuchFile, Refused
from sftpgate.handover.changes import Change
from sftpgate.handover.journal import Journal
from sftpgate.handover.placement.contract_verdicts import ContractTerms
from sftpgate.handover.placement.placer import Placer
from sftpgate.ledger import verdicts
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.contracts import approvals
from sftpgate.ledger.contracts.approvals import Approval
from sftpgate.policy.approvals import MOST_REASON_CHARACTERS, are_enough
from sftpgate.policy.checks import check_of
from sftpgate.policy.lifecycle import ArrivalEvent, ArrivalState
from sftpgate.store.digest import sha256_of

_REJECTABLE = frozenset({ArrivalState.HELD, ArrivalState.WAITING, ArrivalState.QUEUED, ArrivalState.QUARANTINED})


def require_reason(reason: str) -> str:
    """Return what somebody says for a decision, without blanks around it. Raises Refused if that is nothing, or too long."""
    said = " ".join(reason.split())
    if not said:
        raise Refused("say why, in a few words: --reason “checked with the registrar” (rule: decisions have reasons)")
    if len(said) > MOST_REASON_CHARACTERS:
        raise Refused(f"the reason has more than {MOST_REASON_CHARACTERS} characters: say it shorter")
    return said


def require_content(journal: Journal, item: Arrival) -> None:
    """Raise Refused if a file is not there, or not with the content that arrived: people have seen what would be done by that.

    Reads all of it: to be called outside of a change.
    """
    where = item.location
    try:
        fd = None if where is None else journal.contents.open(where)
    except NoSuchFile:
        fd = None
    if fd is None:
        raise Refused(f"the file of arrival {item.id} is not there any more: see `sftpgate show {item.id}`")
    try:
        found = sha256_of(fd)
    finally:
        os.close(fd)
    if found != item.sha256:
        raise Refused(
            f"the file of arrival {item.id} was changed on this machine since it arrived: reject it, and have it sent again "
            "(rule: what is approved is what arrived)"
        )


def approve(change: Change, placer: Placer, item: Arrival, *, actor: Actor, reason: str) -> tuple[Arrival, int, int]:
    """Let a file go that its tool's contract holds, and return it, how many people have approved it, and how many have to.

    It goes once these are enough, unless something else holds it too. Raises Refused if there is nothing to approve: it is not
    held, no contract objects to it, it is not judged yet, the same person did so already, or a newer file of its name waits.
    """
    terms = _terms(change, placer, item)
    subject = terms.subject(item)
    people = placer.approvals.people(change.connection, item, subject)
    if actor.person in people:
        raise Refused(
            f"{actor.person} has approved this file already; its contract wants two different people (rule: four_eyes)"
            if terms.needed > len(people)
            else f"this file is approved already; it is held as {item.hold_reason}: `sftpgate release {item.id}`"
        )
    now = placer.approvals.moment(change.connection)
    given = Approval(
        arrival=item.id,
        sha256=subject.sha256,
        tool=subject.tool,
        contract=subject.contract,
        against=subject.against,
        needed=terms.needed,
        person=actor.person,
        actor=str(actor),
        reason=reason,
        at=now.at,
        boot=now.boot,
        uptime=now.uptime,
    )
    approvals.add(change.connection, given)
    people.add(actor.person)
    change.note(
        "arrival.approved",
        item,
        actor=actor,
        because=reason,
        sha256=item.sha256,
        against=subject.against or None,
        approvals=len(people),
        needed=terms.needed,
    )
    if are_enough(people, terms.needed):
        item = placer.reconsider(change, item, actor=actor, approved=True)
    return item, len(people), terms.needed


def _terms(change: Change, placer: Placer, item: Arrival) -> ContractTerms:
    """Return by what a file is held. Raises Refused if that is no contract."""
    if item.state is not ArrivalState.HELD:
        raise Refused(f"arrival {item.id} is {item.state}: only a file that the contract of its tool holds can be approved")
    terms = placer.verdicts.terms_of(change.connection, item.path)
    if terms is None:
        raise Refused(f"no tool that has a contract takes {item.path}: there is nothing to approve")
    if item.hold_reason is not None and check_of(item.hold_reason).by_approval:
        return terms
    found = verdicts.find(change.connection, item.sha256, terms.digest, terms.against)
    if found is None:
        raise Refused("the contract of its tool was not asked yet: try again in a moment")
    if not found:
        raise Refused(
            f"the contract of {terms.tool} has nothing against this file; it is held as {item.hold_reason}: "
            f"`sftpgate release {item.id}` lets it go"
        )
    return terms


def reject(change: Change, placer: Placer, item: Arrival, *, actor: Actor, reason: str) -> Arrival:
    """End a file that no runner has, and keep its content in the archives; the next of its queue comes up.

    Raises Refused in any other state.
    """
    if item.state not in _REJECTABLE:
        raise Refused(
            f"arrival {item.id} is {item.state}: only a file that is held, waiting, queued or in quarantine can be rejected"
        )
    rejected = change.archive(item, ArrivalEvent.REJECTED, actor=actor, because=reason)
    placer.queues.advance(change, item.path)
    return rejected
