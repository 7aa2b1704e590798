"""Deep queues: what a send and a pass cost does not depend on how many files of the same name wait."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from sftpgate.app.runs.claims import make_claims
from sftpgate.drop.opening import OpenMode
from sftpgate.errors import OwnedByAnother, SftpgateError
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.uploads.terms import Origin, SessionTrace
from tests.harness.handover import Gate

NEW = OpenMode(create=True, truncate=True, exclusive=False, append=False)


class CountingDisk(Disk):
    """A disk that counts how often somebody looks at a name."""

    looks = 0

    def lstat(self, disk_path: DiskPath) -> Any:
        self.looks += 1
        return super().lstat(disk_path)


class Counted:
    """A gate with a queue, which counts looks at names and rows that the ledger gave."""

    def __init__(self, directory: Path, depth: int) -> None:
        self.disk = CountingDisk()
        self.rows = 0
        self.gate = Gate(directory, self.disk)
        self.claims = make_claims(self.gate.system)
        event.listen(self.gate.system.ledger._engine, "connect", self._watch)
        for number in range(depth):
            self.gate.put("q.csv", b"%d\n" % number)
        self.gate.system.ledger.close()  # connections that are made from here on are watched
        self.costs()

    def _watch(self, connection: sqlite3.Connection, _record: object) -> None:
        def count(_cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
            self.rows += 1
            return row

        connection.row_factory = count

    def costs(self) -> tuple[int, int]:
        """Looks and rows since the last call."""
        found = self.disk.looks, self.rows
        self.disk.looks = self.rows = 0
        return found

    def send(self) -> Arrival:
        """OPEN, WRITE and CLOSE, as a session does them."""
        upload = self.gate.acts.opening.open(self.gate.sender(), "q.csv", NEW, SessionTrace(), [])
        upload.write(self.disk, 0, b"new\n")
        [outcome] = self.gate.publisher.commit([upload])
        assert isinstance(outcome, Arrival), outcome
        return outcome

    def run(self) -> Arrival:
        """One run of the tool."""
        claim = self.claims.take("queue")
        assert claim is not None
        return self.claims.end(claim, ClaimEnd(outcome=RunOutcome.DONE)).arrival


def test_what_a_send_and_a_pass_cost(tmp_path: Path) -> None:
    """A send into a queue of 300, a look at it, and a run of its tool take as many looks and rows as in one of 20."""
    found: dict[int, list[tuple[int, int]]] = {}
    for depth in (20, 300):
        counted = Counted(tmp_path / str(depth), depth)
        costs: list[tuple[int, int]] = []
        found[depth] = costs
        assert counted.send().state is ArrivalState.QUEUED
        costs.append(counted.costs())
        assert counted.gate.acts._sender_view.lookup("erp", "q.csv") is not None
        costs.append(counted.costs())
        assert counted.run().state is ArrivalState.DONE
        costs.append(counted.costs())
        assert counted.gate.read("q.csv") == b"1\n"
        counted.gate.system.close()
    assert found[300] == found[20]
    assert all(looks < 60 and rows < 60 for looks, rows in found[300]), found


def test_a_short_queue_costs_no_more(tmp_path: Path) -> None:
    """A queue of three costs no more than a deep one does."""
    shallow, deep = (Counted(tmp_path / str(depth), depth) for depth in (3, 300))
    for act in (Counted.send, Counted.run):
        assert act(shallow).path == act(deep).path == "q.csv"
        pairs = list(zip(shallow.costs(), deep.costs(), strict=True))
        assert all(many <= few + 20 for few, many in pairs), (act, pairs)
    shallow.gate.system.close()
    deep.gate.system.close()


@pytest.mark.promise("P3", "P4")
def test_every_file_of_a_deep_queue_in_its_order(tmp_path: Path) -> None:
    """Forty files of one name, sent while runs go on, are processed in the order in which they came."""
    gate = Gate(tmp_path / "data")
    claims = make_claims(gate.system)
    sent, done = [], []
    for number in range(40):
        sent.append(gate.put("q.csv", b"%d\n" % number).id)
        if number % 4 == 3:
            claim = claims.take("queue")
            assert claim is not None
            done.append(claims.end(claim, ClaimEnd(outcome=RunOutcome.DONE)).arrival.id)
    while (claim := claims.take("queue")) is not None:
        done.append(claims.end(claim, ClaimEnd(outcome=RunOutcome.DONE)).arrival.id)
    assert done == sent
    gate.system.close()


@pytest.mark.promise("P3")
def test_a_queue_of_which_the_first_ones_are_gone(gate: Gate) -> None:
    """Where somebody has removed files in the middle of our places, the next one that is there comes up, in order."""
    sent = [gate.put("q.csv", b"%d\n" % number) for number in range(30)]
    for item in sent[1:12]:
        (gate.store / ".sftpgate/queue" / item.id).unlink()
    (gate.store / "q.csv").unlink()
    gate.put("q.csv", b"last\n")
    assert gate.read("q.csv") == b"12\n"
    assert [gate.now(item).state for item in (sent[0], sent[1], sent[12], sent[13])] == [
        ArrivalState.TAKEN,
        ArrivalState.LOST,
        ArrivalState.WAITING,
        ArrivalState.QUEUED,
    ]


@pytest.mark.promise("P3")
def test_a_change_that_brings_up_twice(gate: Gate) -> None:
    """Within one change the second of a queue comes up after the first, and not its last one."""
    sent = [gate.put("q.csv", b"%d\n" % number) for number in range(30)]
    with gate.system.journal.change() as change:
        for item in sent[:3]:
            change.event(change.get(item.id), ArrivalEvent.DISCARDED, location=None)
            gate.system.placer.queues.advance(change, "q.csv")
    assert gate.read("q.csv") == b"3\n"
    assert gate.now(sent[3]).state is ArrivalState.WAITING


@pytest.mark.promise("P3")
def test_a_tool_that_wants_the_latest_only_from_now_on(tmp_path: Path) -> None:
    """Where a queue is for the latest file only by now, the next file replaces all that wait, and each is archived."""
    gate = Gate(tmp_path / "data")
    for number in range(30):
        gate.put("q.csv", b"%d\n" % number)
    gate.system.close()
    latest = Gate(tmp_path / "data", tools={"queue": {"file": "q.csv", "command": ["true"]}})
    assert latest.put("q.csv", b"new\n").state is ArrivalState.WAITING
    assert latest.read("q.csv") == b"new\n"
    assert latest.archived() == sorted(b"%d\n" % number for number in range(30))
    latest.system.close()


@pytest.mark.promise("P3")
@pytest.mark.parametrize("chosen", [1, 15, 29])
def test_a_version_in_the_queue_is_continued(gate: Gate, chosen: int) -> None:
    """A changed copy takes the place of the version that it was made of, wherever that is in the queue by now."""
    sent = [gate.put("q.csv", b"%d\n" % number) for number in range(30)]
    origin = Origin(continues=sent[chosen].id)
    upload = gate.system.staging.create(gate.sender(), "q.csv", SessionTrace(), origin)
    upload.write(gate.system.disk, 0, b"changed\n")
    [outcome] = gate.publisher.commit([upload])
    assert isinstance(outcome, Arrival), outcome
    assert gate.now(sent[chosen]).state is ArrivalState.REPLACED
    assert gate.now(outcome).state is ArrivalState.QUEUED
    copied = os.memfd_create("copied")
    os.write(copied, b"changed ")
    again = gate.system.staging.copy_of(copied, gate.sender(), "q.csv", SessionTrace(), origin)
    os.close(copied)
    again.write(gate.system.disk, 8, b"again\n")
    [refused] = gate.publisher.commit([again])
    assert isinstance(refused, SftpgateError)


@pytest.mark.promise("P5")
def test_the_queue_of_another_user(gate: Gate) -> None:
    """Nobody puts a file behind another user's deep queue, or sees anything of it; each sees its own newest one."""
    sent = [gate.put("q.csv", b"%d\n" % number) for number in range(30)]
    with pytest.raises(OwnedByAnother):
        gate.put("q.csv", b"mine\n", user="other")
    look = gate.acts._sender_view.look("other", "q.csv")
    assert look.item is None and look.rows
    seen = gate.acts._sender_view.lookup("erp", "q.csv")
    assert seen is not None and seen.arrival is not None and seen.arrival.id == sent[-1].id
    [listed] = gate.acts._sender_view.listing("erp", "")
    assert listed.arrival is not None and listed.arrival.id == sent[-1].id
    assert not list(gate.acts._sender_view.listing("other", ""))


@pytest.mark.promise("P5")
def test_a_user_whose_version_is_in_the_middle(gate: Gate) -> None:
    """A user sees its own file in a queue that others have before and behind it."""
    sent = [gate.put("q.csv", b"%d\n" % number) for number in range(30)]
    with gate.system.ledger.transaction() as connection:
        connection.exec_driver_sql("UPDATE arrivals SET owner = 'other' WHERE id = ?", (sent[10].id,))
    seen = gate.acts._sender_view.lookup("other", "q.csv")
    assert seen is not None and seen.arrival is not None and seen.arrival.id == sent[10].id
    assert seen.disk_path == gate.system.layout.disk_path(location(Area.QUEUE, sent[10].id))


@pytest.mark.promise("P5")
def test_removing_a_deep_queue(gate: Gate) -> None:
    """REMOVE withdraws every version that waits: nothing of the name is there afterwards."""
    sent = [gate.put("q.csv", b"%d\n" % number) for number in range(30)]
    gate.acts.remove(gate.sender(), "q.csv", [])
    assert {gate.now(item).state for item in sent} == {ArrivalState.WITHDRAWN}
    assert gate.acts._sender_view.lookup("erp", "q.csv") is None
    assert not list((gate.store / ".sftpgate/queue").iterdir())
