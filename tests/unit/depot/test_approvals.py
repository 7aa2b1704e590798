"""What people decide about a file that a contract holds: approved for two hours and with its content, or rejected."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from sftpgate.app import arrivals, differences, undo
from sftpgate.app.arrivals import Approved
from sftpgate.app.runs.claims import make_claims
from sftpgate.drop.sender_view import SenderView
from sftpgate.errors import NotFound, Refused, SftpgateError
from sftpgate.handover.guard import Guard
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.actor import Actor, Role
from sftpgate.policy.approvals import APPROVED_FOR
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from tests.harness.handover import JUDGES, Gate

HEADER = b"uid;name\n"
GOOD, BAD, WORSE, BETTER = (HEADER + text for text in (b"u1;a\nu2;b\nu3;c\n", b"u1;a\n", b"u9;a\n", b"u1;a\nu2;b\nu3;c\nu4;d\n"))
CONTRACT: dict[str, Any] = {"header": ["uid", "name"], "key": ["uid"], "max_removed": "40%"}
ALICE, BOB = Actor(Role.COMMAND, "alice(1000)"), Actor(Role.COMMAND, "root(0) as bob(1001)")
OBJECTED, WAITING = (ArrivalState.HELD, HoldReason.CONTRACT), (ArrivalState.WAITING, None)
QUEUED, REJECTED = (ArrivalState.QUEUED, None), (ArrivalState.REJECTED, HoldReason.CONTRACT)
ENDED = APPROVED_FOR + timedelta(seconds=1)


def tools(**contract: Any) -> dict[str, Any]:
    """A tool that takes the latest file, and a queue, with the same contract; another one with a stricter one."""
    both = {"command": ["true"], "contract": CONTRACT | contract}
    return {
        "latest": {"file": "x.csv", **both},
        "queue": {"file": "q.csv", "arrivals": "queue", **both},
        "strict": {"file": "s.csv", "command": ["true"], "contract": CONTRACT | {"min_rows": 3}},
    }


@pytest.fixture
def gate(make_gate: Any) -> Gate:
    """A gate whose tools have processed a good file."""
    made: Gate = make_gate(tools=tools())
    for path, tool in (("x.csv", "latest"), ("q.csv", "queue")):
        made.put(path, GOOD)
        judge(made)
        process(made, tool)
    return made


def judge(gate: Gate) -> None:
    """What the server does a few times a second."""
    guard = Guard(gate.system.resources, gate.system.journal, gate.system.placer, JUDGES)
    guard.judge_held()
    guard.end_approvals()


def process(gate: Gate, tool: str, outcome: RunOutcome = RunOutcome.DONE) -> bytes | None:
    """One run of a tool; the content that it got."""
    claims = make_claims(gate.system)
    claim = claims.take(tool)
    if claim is None:
        return None
    content = claim.path.read_bytes()
    claims.end(claim, ClaimEnd(outcome=outcome))
    return content


def held(gate: Gate, path: str = "x.csv", content: bytes = BAD) -> Arrival:
    """A file that was judged and held."""
    arrival = gate.put(path, content)
    judge(gate)
    assert found(gate, arrival) == OBJECTED
    return arrival


def found(gate: Gate, arrival: Arrival) -> tuple[ArrivalState, HoldReason | None]:
    """What an arrival is now."""
    now = gate.now(arrival)
    return now.state, now.hold_reason


def approve(gate: Gate, arrival: Arrival, actor: Actor = ALICE) -> Approved:
    """Somebody approves."""
    return arrivals.approve(gate.system, actor, arrival.id, reason="the class was closed")


def events(gate: Gate, arrival: Arrival, name: str) -> list[dict[str, object]]:
    """The details of events of an arrival, with who made them."""
    known = arrivals.history(gate.system.ledger, arrival.id)
    return [{"by": str(event.actor), **event.details} for event in known.events if event.event == name]


@pytest.mark.promise("P1", "P8")
def test_an_approved_file(gate: Gate) -> None:
    """An approved file is run once; the record has who approved which content, and why; the next file is held as before."""
    arrival = held(gate)
    approved = approve(gate, arrival)
    assert (approved.people, approved.needed, found(gate, arrival)) == (1, 1, WAITING)
    assert process(gate, "latest") == BAD
    [event] = events(gate, arrival, "arrival.approved")
    assert (event["by"], event["because"]) == ("cli:alice(1000)", "the class was closed")
    assert (event["sha256"], event["against"]) == (sha256(BAD).hexdigest(), sha256(GOOD).hexdigest())
    [published] = events(gate, arrival, "arrival.published")
    assert published["by"] == "cli:alice(1000)"
    held(gate, content=WORSE)  # all of the last file's rows are gone


@pytest.mark.promise("P1")
@pytest.mark.parametrize("path", ["x.csv", "q.csv"])
def test_an_approval_that_ends(gate: Gate, path: str) -> None:
    """A file that no tool has run on two hours after its approval is held again, and can be approved again."""
    arrival = held(gate, path)
    approve(gate, arrival)
    gate.clock.ahead += APPROVED_FOR - timedelta(minutes=1)
    judge(gate)
    assert found(gate, arrival) == WAITING
    gate.clock.ahead += timedelta(minutes=2)
    judge(gate)
    assert found(gate, arrival) == OBJECTED and gate.read(path) is None
    assert len(events(gate, arrival, "arrival.approval_ended")) == 1
    judge(gate)
    gate.sweeper.run()
    assert found(gate, arrival) == OBJECTED
    approve(gate, arrival)
    assert found(gate, arrival) == WAITING


@pytest.mark.promise("P1", "P4")
def test_a_runner_that_comes_late(gate: Gate) -> None:
    """A runner that comes when the approval has ended, and before anybody noticed, does not get the file, but the next."""
    late = held(gate, "q.csv")
    approve(gate, late)
    good = gate.put("q.csv", BETTER)
    judge(gate)
    assert found(gate, good) == QUEUED
    gate.clock.ahead += ENDED
    assert process(gate, "queue") == BETTER
    assert found(gate, late) == OBJECTED


@pytest.mark.parametrize("set_by", [timedelta(days=-2), timedelta(days=2), timedelta(hours=-1)])
def test_a_clock_that_is_set(gate: Gate, set_by: timedelta) -> None:
    """Setting the clock neither ends an approval nor lengthens it; one that has ended is not good again."""
    arrival = held(gate)
    approve(gate, arrival)
    gate.clock.set_by = set_by
    judge(gate)
    assert found(gate, arrival) == WAITING
    gate.clock.ahead += ENDED
    judge(gate)
    assert found(gate, arrival) == OBJECTED
    gate.clock.set_by -= timedelta(hours=3)
    judge(gate)
    gate.sweeper.run()
    assert found(gate, arrival) == OBJECTED


@pytest.mark.promise("P1")
def test_another_process(gate: Gate, make_gate: Any) -> None:
    """The ledger has the approval: after a restart of the server it holds as long as before, and ends."""
    arrival = held(gate)
    approve(gate, arrival)
    again: Gate = make_gate(tools=tools())
    again.clock.ahead = timedelta(hours=1)
    judge(again)
    assert found(again, arrival) == WAITING
    again.clock.ahead += timedelta(hours=1, seconds=1)
    assert process(again, "latest") is None
    assert found(again, arrival) == OBJECTED


@pytest.mark.promise("P1")
def test_two_people(make_gate: Any) -> None:
    """With four_eyes two different people approve; one who acts as root is who logged in. Both hold at the same time."""
    gate: Gate = make_gate(tools=tools(four_eyes=True, min_rows=2))
    arrival = held(gate)
    first = approve(gate, arrival)
    assert (first.people, first.needed, found(gate, arrival)) == (1, 2, OBJECTED)
    for same in (ALICE, Actor(Role.COMMAND, "root(0) as alice(1000)")):
        with pytest.raises(Refused, match="two different people"):
            approve(gate, arrival, same)
    gate.clock.ahead += ENDED
    judge(gate)
    second = approve(gate, arrival, BOB)
    assert (second.people, found(gate, arrival)) == (1, OBJECTED)
    assert approve(gate, arrival, ALICE).people == 2
    assert found(gate, arrival) == WAITING
    given = arrivals.history(gate.system.ledger, arrival.id).approvals
    assert [(each.person, each.ended_at is None) for each in given] == [
        ("alice(1000)", False),
        ("bob(1001)", True),
        ("alice(1000)", True),
    ]


# -- what happens to an approved file ----------------------------------------------------------------------------------


@pytest.mark.promise("P1")
def test_another_content(gate: Gate) -> None:
    """An approval is of a content: what its sender appends to the file, or sends under its name, is held by its own rules."""
    approve(gate, held(gate))
    upload = gate.upload("x.csv", WORSE)
    [newer] = gate.publisher.commit([upload])
    assert not isinstance(newer, SftpgateError)
    judge(gate)
    assert found(gate, newer) == OBJECTED
    assert process(gate, "latest") == BAD  # the earlier one waits still: what is held takes nobody's place


@pytest.mark.promise("P1")
def test_a_content_that_is_changed_in_place(gate: Gate) -> None:
    """What somebody of this machine writes into an approved file that waits is not run: the file is held again."""
    arrival = held(gate, "q.csv")
    approve(gate, arrival)
    good = gate.put("q.csv", BETTER)
    judge(gate)
    (gate.store / "q.csv").write_bytes(WORSE)
    assert process(gate, "queue") == BETTER
    assert found(gate, arrival) == OBJECTED and gate.now(good).state is ArrivalState.DONE
    [event] = events(gate, arrival, "arrival.approval_ended")
    assert event["because"] == "its content was changed on this machine"
    with pytest.raises(Refused, match="changed on this machine"):
        approve(gate, arrival)


@pytest.mark.promise("P3")
def test_a_file_that_is_replaced(gate: Gate) -> None:
    """A good newer file takes the place of an approved one, which is archived, and is not run."""
    arrival = held(gate)
    approve(gate, arrival)
    gate.put("x.csv", BETTER)
    judge(gate)
    assert gate.now(arrival).state is ArrivalState.REPLACED and BAD in gate.archived()
    gate.clock.ahead += ENDED
    judge(gate)
    assert gate.now(arrival).state is ArrivalState.REPLACED
    assert process(gate, "latest") == BETTER


def test_an_older_file(gate: Gate) -> None:
    """A held file whose newer good one waits already cannot be approved: it would be put in the place of that."""
    arrival = held(gate)
    gate.put("x.csv", GOOD)
    gate.put("x.csv", BETTER)
    judge(gate)
    assert gate.now(arrival).state is ArrivalState.REPLACED  # by the one that was let go
    with pytest.raises(Refused, match="replaced"):
        approve(gate, arrival)


@pytest.mark.promise("P1", "P5")
def test_a_file_that_is_renamed(gate: Gate) -> None:
    """Renamed by its sender, an approved file goes on under another name of the same tool, and is judged anew by another tool."""
    arrival = held(gate)
    approve(gate, arrival)
    gate.acts.rename(gate.sender(), "x.csv", "s.csv", replacing=True, uploads=[])
    assert found(gate, arrival) == (ArrivalState.HELD, HoldReason.UNCHECKED)
    judge(gate)
    assert found(gate, arrival) == OBJECTED and process(gate, "strict") is None
    gate.acts.rename(gate.sender(), "s.csv", "x.csv", replacing=True, uploads=[])
    assert found(gate, arrival) == WAITING


def test_a_file_that_is_withdrawn(gate: Gate) -> None:
    """Removed by its sender, an approved file is gone; sent again, it is held."""
    arrival = held(gate)
    approve(gate, arrival)
    gate.acts.remove(gate.sender(), "x.csv", [])
    assert gate.now(arrival).state is ArrivalState.WITHDRAWN
    held(gate)


@pytest.mark.promise("P4")
def test_a_file_that_was_claimed(gate: Gate) -> None:
    """A claim that is given back unused is no run: the approval ends. A run that failed is one: the file has its next attempt."""
    unused, failed = held(gate, "x.csv"), held(gate, "q.csv")
    for arrival in (unused, failed):
        approve(gate, arrival)
    assert process(gate, "latest", RunOutcome.RELEASED) == BAD
    assert process(gate, "queue", RunOutcome.FAILED) == BAD
    gate.clock.ahead += ENDED
    judge(gate)
    assert (found(gate, unused), found(gate, failed)) == (OBJECTED, WAITING)
    assert process(gate, "queue") == BAD


def test_a_claim_that_lasts(gate: Gate) -> None:
    """A runner that has the file when the approval ends keeps it."""
    arrival = held(gate)
    approve(gate, arrival)
    claims = make_claims(gate.system)
    claim = claims.take("latest")
    assert claim is not None
    gate.clock.ahead += ENDED
    judge(gate)
    assert gate.now(arrival).state is ArrivalState.CLAIMED
    claims.end(claim, ClaimEnd(outcome=RunOutcome.DONE))
    assert gate.now(arrival).state is ArrivalState.DONE


@pytest.mark.promise("P1")
def test_another_last_file(gate: Gate) -> None:
    """People approve what they have seen: if the tool processes another file meanwhile, the first of two approvals counts no
    more, and neither does one of another contract.
    """
    arrival = held(gate, "q.csv")
    good = gate.put("q.csv", BETTER)
    judge(gate)
    assert found(gate, good) == WAITING  # a held file keeps nobody back
    with gate.system.ledger.reading() as connection:
        before = gate.system.placer.verdicts.terms_of(connection, "q.csv")
    assert process(gate, "queue") == BETTER
    with gate.system.ledger.reading() as connection:
        after = gate.system.placer.verdicts.terms_of(connection, "q.csv")
    assert before is not None and after is not None and before.subject(arrival) != after.subject(arrival)
    approve(gate, arrival)
    [event] = events(gate, arrival, "arrival.approved")
    assert event["against"] == sha256(BETTER).hexdigest()


@pytest.mark.promise("P1")
def test_a_batch_lock(gate: Gate) -> None:
    """An approval lifts what the contract says, and nothing else: a batch lock holds the file on."""
    arrival = held(gate)
    gate.put("alock.txt", b"locked\n")
    approve(gate, arrival)
    assert found(gate, arrival) == (ArrivalState.HELD, HoldReason.BATCH_LOCK)
    gate.acts.remove(gate.sender(), "alock.txt", [])
    assert found(gate, arrival) == WAITING


@pytest.mark.promise("P1")
def test_a_release_is_no_approval(gate: Gate) -> None:
    """A release lifts all other holds; what the contract holds it leaves, and says what to do."""
    arrival = held(gate)
    with pytest.raises(Refused, match="sftpgate approve"):
        arrivals.release(gate.system, ALICE, arrival.id)
    gate.put("alock.txt", b"locked\n")
    locked = gate.put("q.csv", WORSE)
    assert found(gate, locked)[1] is HoldReason.UNCHECKED
    judge(gate)
    with pytest.raises(Refused, match="the contract of its tool holds it"):
        arrivals.release(gate.system, ALICE, locked.id)
    good = gate.put("q.csv", BETTER)
    judge(gate)
    assert found(gate, good) == (ArrivalState.HELD, HoldReason.BATCH_LOCK)
    arrivals.release(gate.system, ALICE, good.id)
    assert found(gate, good) == WAITING


@pytest.mark.promise("P7")
def test_what_cannot_be_approved(gate: Gate) -> None:
    """Without a reason, without a file of that content, and without an objection of a contract nothing can be approved."""
    arrival = held(gate)
    for reason, why in (("  \n", "say why"), ("x" * 501, "more than 500 characters")):
        with pytest.raises(Refused, match=why):
            arrivals.approve(gate.system, ALICE, arrival.id, reason=reason)
    location = gate.now(arrival).location
    assert location is not None
    file = gate.system.layout.disk_path(location).local
    file.write_bytes(WORSE)
    with pytest.raises(Refused, match="changed on this machine"):
        approve(gate, arrival)
    file.write_bytes(BAD)
    approve(gate, arrival)
    with pytest.raises(Refused, match="is waiting: only a file that the contract"):
        approve(gate, arrival)
    gate.put("alock.txt", b"locked\n")
    other = gate.put("p.csv", BAD)
    with pytest.raises(Refused, match="no tool that has a contract"):
        approve(gate, other)
    good = gate.put("q.csv", BETTER)
    with pytest.raises(Refused, match=r"has nothing against this file.*sftpgate release"):
        approve(gate, good)


# -- rejecting ---------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P3", "P8")
def test_a_rejected_file(gate: Gate) -> None:
    """A rejected file ends, in the archives, where its sender finds it; a report says why, and the next one comes up."""
    arrival = held(gate)
    ended = arrivals.reject(gate.system, ALICE, arrival.id, reason="half of\nthe classes are missing")
    assert found(gate, arrival) == REJECTED and ended.archived_as is not None
    assert (gate.store / "archives" / ended.archived_as).read_bytes() == BAD
    [event] = events(gate, arrival, "arrival.rejected")
    assert (event["by"], event["because"]) == ("cli:alice(1000)", "half of the classes are missing")
    [report] = [file.read_text() for file in (gate.store / "reports").iterdir() if arrival.id in file.read_text()]
    assert "outcome: rejected by the administrators\n" in report
    assert "it is not processed. They say: half of the classes are missing\n" in report
    assert "what is wrong: 2 of 3 rows of the last processed file are gone; 40% may be." in report
    with pytest.raises(Refused, match="is rejected: only a file"):
        arrivals.reject(gate.system, ALICE, arrival.id, reason="again")
    with pytest.raises(Refused, match="say why"):
        arrivals.reject(gate.system, ALICE, arrival.id, reason="")


@pytest.mark.promise("P1", "P3")
def test_second_thoughts(gate: Gate) -> None:
    """A file that was approved and waits can be rejected; the next of its queue comes up. A claimed one cannot."""
    arrival = held(gate, "q.csv")
    approve(gate, arrival)
    good = gate.put("q.csv", BETTER)
    judge(gate)
    arrivals.reject(gate.system, BOB, arrival.id, reason="no, it is wrong")
    assert gate.now(arrival).state is ArrivalState.REJECTED and found(gate, good) == WAITING
    assert BAD in gate.archived()
    claim = make_claims(gate.system).take("queue")
    assert claim is not None
    with pytest.raises(Refused, match="is claimed"):
        arrivals.reject(gate.system, BOB, good.id, reason="too late")


def test_a_report_in_french(make_gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender who reads French gets the report in French, with the reason as it was given."""
    gate: Gate = make_gate(tools=tools(min_rows=2), language="fr")
    arrival = held(gate)
    arrivals.reject(gate.system, ALICE, arrival.id, reason="export incomplet")
    [report] = [file.read_text() for file in (gate.store / "reports").iterdir() if arrival.id in file.read_text()]
    assert "résultat : rejeté" in report.replace(": rejeté", " : rejeté")
    assert "Ils disent : export incomplet" in report and "Celui-ci est conservé dans les archives." in report


# -- undoing -----------------------------------------------------------------------------------------------------------


def half_a_file(gate: Gate, path: str = "x.csv", tool: str = "latest") -> Arrival:
    """A file that lost rows, and that a tool has processed all the same."""
    arrival = held(gate, path)
    approve(gate, arrival)
    assert process(gate, tool) == BAD
    return arrival


@pytest.mark.promise("P1", "P8")
def test_an_undo(gate: Gate) -> None:
    """What half a file did is undone by the file before it, which waits for an approval, whatever sweeps, and is run then."""
    bad = half_a_file(gate)
    made = undo.propose(gate.system, ALICE, bad.id)
    assert (made.undone.id, made.tool, made.inverse.content) == (bad.id, "latest", GOOD)
    for _ in range(2):
        judge(gate)
        gate.sweeper.run()
        assert found(gate, made.arrival) == (ArrivalState.HELD, HoldReason.APPROVAL)
        assert process(gate, "latest") is None
    with pytest.raises(Refused, match="undoes this one already"):
        undo.propose(gate.system, ALICE, bad.id)
    with pytest.raises(Refused, match="sftpgate approve"):
        arrivals.release(gate.system, ALICE, made.arrival.id)
    [event] = events(gate, made.arrival, "arrival.made_to_undo")
    assert (event["by"], event["undone"]) == ("cli:alice(1000)", bad.id)
    approve(gate, made.arrival, BOB)
    assert process(gate, "latest") == GOOD
    assert found(gate, gate.put("x.csv", BETTER))[0] is ArrivalState.HELD
    judge(gate)
    assert gate.read("x.csv") == BETTER  # compared with what was put back


@pytest.mark.promise("P1", "P3")
def test_an_undo_that_nobody_lets_go(gate: Gate) -> None:
    """An approval of an undo ends as any other; a rejected one is archived, and another can be made."""
    bad = half_a_file(gate)
    made = undo.propose(gate.system, ALICE, bad.id).arrival
    approve(gate, made)
    assert found(gate, made) == WAITING
    gate.clock.ahead += ENDED
    judge(gate)
    assert found(gate, made) == (ArrivalState.HELD, HoldReason.APPROVAL)
    arrivals.reject(gate.system, ALICE, made.id, reason="the ERP sends all of it tonight")
    assert gate.now(made).state is ArrivalState.REJECTED
    assert undo.propose(gate.system, ALICE, bad.id).arrival.id != made.id


@pytest.mark.promise("P3")
def test_an_undo_beside_others(gate: Gate) -> None:
    """An undo takes nobody's place while it is held: a user's file of its name waits on. It goes behind that in a queue."""
    bad = half_a_file(gate, "q.csv", "queue")
    newer = gate.put("q.csv", BETTER)
    judge(gate)
    assert found(gate, newer) == WAITING
    made = undo.propose(gate.system, ALICE, bad.id).arrival
    assert gate.read("q.csv") == BETTER
    system = gate.system
    view = SenderView(system.layout, system.disk, system.ledger, system.staging)
    seen = view.lookup("erp", "q.csv")
    assert seen is not None and seen.size == len(BETTER)  # what is not its sender's it does not see
    approve(gate, made)
    assert (found(gate, newer), found(gate, made)) == (WAITING, QUEUED)
    assert (process(gate, "queue"), process(gate, "queue")) == (BETTER, GOOD)


@pytest.mark.promise("P1")
def test_an_undo_by_commands(make_gate: Any) -> None:
    """Commands that undid a run are nothing to compare with, and neither is what they undid: the platform has what was before."""
    templates = {"removed": "{uid};{name}", "added": "{uid};-", "changed": "{uid};{name}"}
    gate: Gate = make_gate(tools=tools(undo=templates))
    gate.put("x.csv", GOOD)
    judge(gate)
    process(gate, "latest")
    bad = half_a_file(gate)
    held(gate, content=HEADER + b"u2;b\n")  # against the half file all is gone
    made = undo.propose(gate.system, ALICE, bad.id)
    assert made.inverse.is_commands and made.inverse.content == HEADER + b"u2;b\nu3;c\n"
    approve(gate, made.arrival)
    assert process(gate, "latest") == made.inverse.content
    with gate.system.ledger.reading() as connection:
        terms = gate.system.placer.verdicts.terms_of(connection, "x.csv")
    assert terms is not None and terms.against == sha256(GOOD).hexdigest()
    shown = differences.compare(gate.system.settings, bad.id)
    assert shown.against is not None and shown.against.sha256 == sha256(GOOD).hexdigest()


@pytest.mark.promise("P7")
def test_what_cannot_be_undone(gate: Gate) -> None:
    """Only what a tool has processed can be undone, and only as long as the archives have what was there before."""
    arrival = held(gate)
    with pytest.raises(Refused, match="is held: only what a tool has processed"):
        undo.propose(gate.system, ALICE, arrival.id)
    approve(gate, arrival)
    process(gate, "latest")
    for file in (gate.store / "archives").iterdir():
        if file.read_bytes() == GOOD:
            file.unlink()
    with pytest.raises(NotFound, match="not kept any more"):
        undo.propose(gate.system, ALICE, arrival.id)
