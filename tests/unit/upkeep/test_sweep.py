"""Trouble with one file is that file's: the others go on; and what the sweep finds and puts right."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from sftpgate.errors import DirectoryNotEmpty, IsADirectory, NameRefused, NoSuchFile, QuotaExceeded, SftpgateError
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.upkeep.verify import verify
from sftpgate.uploads.terms import SessionTrace
from tests.harness.handover import Gate


@pytest.mark.promise("P1")
def test_a_file_that_cannot_be_moved_stops_nobody(gate: Gate) -> None:
    """An arrival whose place in the store is blocked waits for it, while other files are published."""
    (gate.drop / "sub").mkdir()
    (gate.store / "sub").write_bytes(b"in the way\n")
    [outcome] = gate.publisher.commit([gate.upload("sub/a.csv", b"a\n")])
    assert isinstance(outcome, SftpgateError)
    assert gate.put("b.csv").state is ArrivalState.WAITING
    assert gate.read("b.csv") == b"a,1\n"


@pytest.mark.promise("P1")
def test_a_file_that_could_not_be_moved_is_not_there(gate: Gate) -> None:
    """An upload that was answered as failed is not published later; sent again it is there once, and it can be resumed."""
    (gate.drop / "sub").mkdir()
    (gate.store / "sub").write_bytes(b"in the way\n")
    upload = gate.upload("sub/a.csv", b"a\n")
    [outcome] = gate.publisher.commit([upload])
    assert isinstance(outcome, SftpgateError)
    gate.system.staging.interrupt(upload)
    assert gate.system.staging.partial_at("erp", "sub/a.csv") is not None
    (gate.store / "sub").unlink()
    gate.sweeper.run()
    assert gate.read("sub/a.csv") is None
    assert gate.put("sub/a.csv", b"a\n").state is ArrivalState.WAITING
    assert gate.read("sub/a.csv") == b"a\n" and gate.archived() == []
    assert gate.system.staging.partial_at("erp", "sub/a.csv") is None
    assert verify(gate.system.resources, gate.system.journal, content=True) == []


@pytest.mark.promise("P3")
def test_a_directory_that_has_the_name(gate: Gate) -> None:
    """An upload that is refused sends nothing away: what was held under its name stays held."""
    held = gate.put("x.csv", b"x" * 65536)
    assert held.state is ArrivalState.HELD
    (gate.store / "x.csv").mkdir()
    [outcome] = gate.publisher.commit([gate.upload("x.csv", b"whole\n")])
    assert isinstance(outcome, IsADirectory)
    assert gate.now(held).state is ArrivalState.HELD and gate.archived() == []


def _claim(gate: Gate, arrival: Arrival) -> None:
    with gate.system.journal.change() as change:
        change.event(change.get(arrival.id), ArrivalEvent.CLAIMED, location=location(Area.CLAIMS, arrival.id))


@pytest.mark.promise("P3")
@pytest.mark.parametrize("user", ["erp", "other"])
def test_a_directory_of_a_claimed_file_stays(gate: Gate, user: str) -> None:
    """A directory that looks empty because a runner has its file is not removed or replaced: the file may come back."""
    gate.acts.make_directory(gate.sender(), "d", [])
    gate.acts.make_directory(gate.sender(), "e", [])
    arrival = gate.put("d/x.csv")
    _claim(gate, arrival)
    with pytest.raises(DirectoryNotEmpty, match="being processed" if user == "erp" else "not empty"):
        gate.acts.remove_directory(gate.sender(user), "d", [])
    with pytest.raises(DirectoryNotEmpty):
        gate.acts.rename(gate.sender(user), "e", "d", replacing=True, uploads=[])
    with gate.system.journal.change() as change:
        change.event(change.get(arrival.id), ArrivalEvent.RETURNED, location=location(Area.STORE, "d/x.csv"))
    assert gate.read("d/x.csv") == b"a,1\n"


@pytest.mark.promise("P8")
@pytest.mark.parametrize("obstacle", ["file", "directory"])
def test_an_arrival_whose_place_was_taken_on_the_disk(gate: Gate, obstacle: str) -> None:
    """What cannot come to its place, because somebody changed the disk, is named by verify and said in the log once, however
    many changes follow, and comes to its place when that is free.
    """
    gate.acts.make_directory(gate.sender(), "d", [])
    arrival = gate.put("d/x.csv")
    _claim(gate, arrival)
    if obstacle == "file":
        (gate.store / "d").rmdir()
        (gate.store / "d").write_bytes(b"in the way\n")
    else:
        (gate.store / "d/x.csv").mkdir()
    with gate.system.journal.change() as change:
        change.event(change.get(arrival.id), ArrivalEvent.RETURNED, location=location(Area.STORE, "d/x.csv"))
    with capture_logs() as logs:
        for number in range(5):
            gate.put(f"other{number}.csv")
        gate.sweeper.run()
    [line] = [line for line in logs if line["log_level"] == "error"]
    assert (line["event"], line["path"]) == ("arrival.stuck", "d/x.csv") and "move" in line["reason"]
    [violation] = verify(gate.system.resources, gate.system.journal)
    assert violation.rule == "a recorded move can be made" and "d/x.csv" in violation.explanation
    if obstacle == "file":
        (gate.store / "d").unlink()
    else:
        (gate.store / "d/x.csv").rmdir()
    gate.put("other.csv")
    assert gate.read("d/x.csv") == b"a,1\n" and verify(gate.system.resources, gate.system.journal) == []


@pytest.mark.promise("P5", "P7")
def test_a_directory_gets_no_name_that_makes_a_path_too_long(gate: Gate) -> None:
    """A rename is refused by which a file, or a directory, could not be named any more, and nothing is moved."""
    deep = "a"
    gate.acts.make_directory(gate.sender(), deep, [])
    for _ in range(14):
        deep += "/" + "d" * 200
        gate.acts.make_directory(gate.sender(), deep, [])
    arrival = gate.put(f"{deep}/x.csv")
    for _ in range(2):
        with pytest.raises(NameRefused, match="a client can name every file"):
            gate.acts.rename(gate.sender(), "a", "L" * 255, replacing=False, uploads=[])
        assert (gate.drop / deep).is_dir() and not (gate.drop / ("L" * 255)).exists()
        if gate.now(arrival).state is ArrivalState.WAITING:
            gate.acts.remove(gate.sender(), f"{deep}/x.csv", [])
            gate.acts.make_directory(gate.sender(), f"{deep}/{'e' * 100}", [])


@pytest.mark.promise("P1")
def test_one_bad_upload_of_a_batch(gate: Gate) -> None:
    """Uploads that are committed together fail apart: a gap in one publishes the others."""
    gap = gate.upload("gap.csv", b"")
    gap.write(gate.system.disk, 5, b"x\n")
    uploads = [gate.upload("a.csv", b"a\n"), gap, gate.upload("b.csv", b"b\n")]
    outcomes = gate.publisher.commit(uploads)
    assert [isinstance(outcome, SftpgateError) for outcome in outcomes] == [False, True, False]
    assert (gate.read("a.csv"), gate.read("b.csv"), gate.read("gap.csv")) == (b"a\n", b"b\n", None)
    gate.system.staging.discard(gap)


@pytest.mark.promise("P3")
def test_one_name_twice_in_a_batch(gate: Gate) -> None:
    """Two uploads of one name in one commit are both kept: the later has the name, the earlier is in the archives."""
    outcomes = gate.publisher.commit([gate.upload("a.csv", b"first\n"), gate.upload("a.csv", b"second\n")])
    assert not [outcome for outcome in outcomes if isinstance(outcome, SftpgateError)]
    assert gate.read("a.csv") == b"second\n" and gate.archived() == [b"first\n"]
    assert verify(gate.system.resources, gate.system.journal, content=True) == []


@pytest.mark.promise("P3")
def test_many_of_one_name_in_one_minute(gate: Gate) -> None:
    """Archives never collide: each of many files of one name and one minute is kept."""
    for number in range(12):
        gate.put("a.csv", b"%d\n" % number)
    assert gate.read("a.csv") == b"11\n"
    assert gate.archived() == sorted(b"%d\n" % number for number in range(11))


@pytest.mark.promise("P3")
@pytest.mark.parametrize("name", ["x" * 251 + ".csv", "é" * 125 + ".csv", "x" * 255])
def test_the_longest_names(gate: Gate, name: str) -> None:
    """A name of 255 bytes is published like any other, replaced, and archived under a name that fits."""
    assert gate.put(name, b"first\n").state is ArrivalState.WAITING
    assert gate.put(name, b"second\n").state is ArrivalState.WAITING
    assert gate.read(name) == b"second\n" and gate.archived() == [b"first\n"]


@pytest.mark.promise("P8")
def test_what_a_plain_program_took(gate: Gate) -> None:
    """A file that a plain program removed from the store is recorded as taken, and the next of its queue comes up."""
    first, second = gate.put("q.csv", b"1\n"), gate.put("q.csv", b"2\n")
    assert gate.now(second).state is ArrivalState.QUEUED
    (gate.store / "q.csv").unlink()
    result = gate.sweeper.run()
    assert result is not None and result.gone == 1
    assert gate.now(first).state is ArrivalState.TAKEN and gate.now(second).state is ArrivalState.WAITING
    assert gate.read("q.csv") == b"2\n"


@pytest.mark.promise("P8")
def test_what_somebody_removed_from_the_drop(gate: Gate) -> None:
    """An ignored file that somebody of this machine removes is recorded as discarded."""
    arrival = gate.put("_draft.csv")
    (gate.drop / "_draft.csv").unlink()
    gate.sweeper.run()
    assert gate.now(arrival).state is ArrivalState.DISCARDED


@pytest.mark.promise("P1")
def test_a_second_sweep_does_nothing(gate: Gate) -> None:
    """What a sweep has put right stays right: the next one finds nothing to do."""
    gate.put("a.csv")
    gate.put("_draft.csv")
    (gate.drop / "local.csv").write_bytes(b"local\n")
    gate.clock.ahead = timedelta(minutes=1)
    first, second = gate.sweeper.run(), gate.sweeper.run()
    assert first is not None and first.taken == 1
    assert second is not None and not second.did_something
    assert verify(gate.system.resources, gate.system.journal, content=True) == []


@pytest.mark.promise("P1")
def test_local_files_of_a_locked_home(gate: Gate) -> None:
    """A batch lock in a home holds back local files of that home, and no others."""
    (gate.drop / "home").mkdir()
    for path in ("home/alock.txt", "home/a.csv", "b.csv"):
        (gate.drop / path).write_bytes(b"x\n")
    gate.clock.ahead = timedelta(minutes=1)
    result = gate.sweeper.run()
    assert result is not None and (result.taken, result.waiting_for_lock) == (1, 1)
    (gate.drop / "home/alock.txt").unlink()
    result = gate.sweeper.run()
    assert result is not None and result.taken == 1
    assert gate.read("home/a.csv") == b"x\n" == gate.read("b.csv")


@pytest.mark.promise("P3")
def test_a_local_file_and_an_upload_of_one_name(gate: Gate) -> None:
    """Where a local program and a sender use one name, the local file waits in the drop until the other one is taken."""
    (gate.drop / "a.csv").write_bytes(b"local\n")
    gate.put("a.csv", b"sent\n")
    gate.clock.ahead = timedelta(minutes=1)
    gate.sweeper.run()
    assert gate.read("a.csv") == b"sent\n" and (gate.drop / "a.csv").read_bytes() == b"local\n"
    (gate.store / "a.csv").unlink()
    gate.sweeper.run()
    gate.sweeper.run()
    assert gate.read("a.csv") == b"local\n" and not (gate.drop / "a.csv").exists()


@pytest.mark.promise("P6")
def test_reserved_names_in_the_drop_are_left(gate: Gate) -> None:
    """The sweeper takes nothing out of directories of reserved names, in any letter case, nor our own files."""
    for directory in ("archives", "Reports", ".sftpgate"):
        (gate.drop / directory).mkdir(exist_ok=True)
        (gate.drop / directory / "a.csv").write_bytes(b"x\n")
    (gate.drop / ".sftpgate-x").write_bytes(b"x\n")
    gate.clock.ahead = timedelta(minutes=1)
    result = gate.sweeper.run()
    assert result is not None and result.taken == 0 and gate.archived() == []


@pytest.mark.promise("P7")
def test_quota_counts_what_waits(make_gate: Any) -> None:
    """What waits counts against the user's quota, and a removed file does not."""
    gate: Gate = make_gate(max_pending_files=2)
    for name in ("a.csv", "_b.csv"):
        gate.put(name)
    with pytest.raises(QuotaExceeded, match="max_pending_files"):
        gate.acts.limits.require("erp")
    gate.acts.limits.require("other")
    gate.acts.remove(gate.sender(), "_b.csv", [])
    gate.acts.limits.require("erp")


@pytest.mark.promise("P7")
def test_interrupted_uploads_count_against_the_quota(make_gate: Any) -> None:
    """What lies in staging counts too, as the setting says: a client cannot fill the disk with interrupted uploads."""
    gate: Gate = make_gate(max_pending_files=3, max_pending_bytes=1000, max_upload_bytes=1000)
    for number in range(4):
        gate.system.staging.interrupt(gate.upload(f"{number}.csv", b"x" * 500))
    with pytest.raises(QuotaExceeded):
        gate.acts.limits.require("erp")


@pytest.mark.promise("P4")
def test_remove_of_what_is_claimed_meanwhile(gate: Gate) -> None:
    """A file that was taken from the store between two looks is "no such file" for its sender."""
    gate.put("a.csv")
    (gate.store / "a.csv").unlink()
    with pytest.raises(NoSuchFile):
        gate.acts.remove(gate.sender(), "a.csv", [])


@pytest.mark.promise("P3")
def test_rename_of_an_upload_onto_anothers_name(gate: Gate) -> None:
    """A rename to a name that waits from another user is refused, and both files stay."""
    gate.put("a.csv", b"foreign\n", user="other")
    gate.put("a.csv.tmp", b"mine\n")
    for replacing in (False, True):
        with pytest.raises(SftpgateError, match="another sender"):
            gate.acts.rename(gate.sender(), "a.csv.tmp", "a.csv", replacing=replacing, uploads=[])
    assert gate.read("a.csv") == b"foreign\n" and (gate.drop / "a.csv.tmp").read_bytes() == b"mine\n"


@pytest.mark.promise("P1")
def test_staging_of_a_dead_session_without_a_note(gate: Gate) -> None:
    """A staging file without a note is nobody's, and removed after its time."""
    upload = gate.system.staging.create(gate.sender(), "a.csv", SessionTrace())
    upload.write(gate.system.disk, 0, b"x")
    upload.close()
    result = gate.sweeper.run()
    assert result is not None and result.expired_uploads == 0
    gate.clock.ahead = timedelta(days=2)
    result = gate.sweeper.run()
    assert result is not None and result.expired_uploads == 1
    assert not list(upload.disk_path.parent.local.iterdir())
