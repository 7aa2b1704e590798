"""Same name again, other people's names, and files that nobody sent."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sftpgate.drop.opening import OpenMode
from sftpgate.errors import OwnedByAnother, QuotaExceeded, Refused, UploadFailed
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.uploads.terms import SessionTrace
from sftpgate.uploads.upload import Upload
from tests.harness.handover import Gate

NEW_FILE = OpenMode(create=True, truncate=True, exclusive=False, append=False)


@pytest.mark.promise("P3")
def test_replace_keeps_the_earlier_file(gate: Gate) -> None:
    """A newer file takes the name, and the content of the earlier one is in the archives."""
    first = gate.put("x.csv", b"1\n")
    gate.put("x.csv", b"2\n")
    assert (gate.read("x.csv"), gate.archived()) == (b"2\n", [b"1\n"])
    replaced = gate.now(first)
    assert replaced.state is ArrivalState.REPLACED
    assert replaced.archived_as is not None


@pytest.mark.promise("P3")
def test_queue_keeps_all_in_order(gate: Gate) -> None:
    """For a tool that wants every arrival, newer files wait behind the first."""
    first, second, third = (gate.put("q.csv", content) for content in (b"1\n", b"2\n", b"3\n"))
    assert [gate.now(item).state for item in (first, second, third)] == [
        ArrivalState.WAITING,
        ArrivalState.QUEUED,
        ArrivalState.QUEUED,
    ]
    (gate.store / "q.csv").unlink()
    gate.sweeper.run()
    assert gate.now(first).state is ArrivalState.TAKEN
    assert gate.read("q.csv") == b"2\n"


@pytest.mark.promise("P3")
def test_another_users_name(gate: Gate) -> None:
    """A name with an unclaimed file of another user is refused at OPEN, and at CLOSE when it became so meanwhile."""
    late = gate.upload("x.csv", b"late\n", user="other")
    mine = gate.put("x.csv", b"mine\n")
    [outcome] = gate.publisher.commit([late])
    assert isinstance(outcome, OwnedByAnother)
    gate.system.staging.interrupt(late)
    assert gate.system.staging.partial_at("other", "x.csv") is not None
    with pytest.raises(OwnedByAnother):
        gate.acts.opening.open(gate.sender("another"), "x.csv", NEW_FILE, SessionTrace(), ())
    assert gate.now(mine).state is ArrivalState.WAITING
    assert gate.read("x.csv") == b"mine\n"


@pytest.mark.promise("P3")
def test_unknown_file_in_the_store_is_kept(gate: Gate) -> None:
    """What a program of this machine put into the store is archived when a sender's file takes its name."""
    (gate.store / "x.csv").write_bytes(b"local\n")
    gate.put("x.csv", b"sent\n")
    assert (gate.read("x.csv"), gate.archived()) == (b"sent\n", [b"local\n"])


@pytest.mark.promise("P1", "P3")
def test_suspect_does_not_replace_a_good_file(gate: Gate) -> None:
    """A file that looks interrupted is held and leaves the good one in its place, until an admin releases it."""
    held = gate.put("x.csv", b"y" * 65536)
    assert held.hold_reason is HoldReason.INCOMPLETE
    good = gate.put("x.csv", b"good\n")
    assert gate.now(held).state is ArrivalState.REPLACED
    later = gate.put("x.csv", b"z" * 65536)
    assert later.state is ArrivalState.HELD
    assert gate.now(good).state is ArrivalState.WAITING
    with gate.system.journal.change() as change:
        gate.system.placer.reconsider(change, change.get(later.id), release=True)
    assert gate.read("x.csv") == b"z" * 65536
    assert b"good\n" in gate.archived()


def test_release_of_an_older_file(gate: Gate) -> None:
    """An older file never takes the place of a newer one, whoever asks."""
    gate.put("alock.txt", b"")
    older = gate.put("x.csv", b"older\n")
    (gate.drop / "alock.txt").unlink()
    with gate.system.journal.change() as change:
        item = change.get(older.id)
    newer = gate.put("x.csv", b"newer\n")
    assert gate.now(item).state is ArrivalState.REPLACED
    assert gate.now(newer).state is ArrivalState.WAITING


def test_local_file_is_taken_when_quiet(gate: Gate) -> None:
    """A file that lies in the drop is taken after it was quiet, and not while somebody has it open for writing."""
    file = gate.drop / "local.csv"
    writer = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(writer, b"half")
    os.utime(file, (1, 1))
    gate.sweeper.run()
    assert gate.read("local.csv") is None, "it has just changed, whatever its time says"
    gate.clock.ahead = timedelta(seconds=30)
    gate.sweeper.run()
    assert gate.read("local.csv") is None, "somebody is still writing"
    os.close(writer)
    gate.sweeper.run()
    assert gate.read("local.csv") == b"half"


def test_change_time_in_the_future(gate: Gate) -> None:
    """A file of a clock that was set back is taken when it looks the same settle_seconds later."""
    (gate.drop / "x.csv").write_bytes(b"1\n")
    gate.clock.ahead = timedelta(hours=-1)
    gate.sweeper.run()
    gate.clock.ahead += timedelta(seconds=5)
    gate.sweeper.run()
    assert gate.read("x.csv") is None
    gate.clock.ahead += timedelta(seconds=6)
    gate.sweeper.run()
    assert gate.read("x.csv") == b"1\n"


@pytest.mark.promise("P6")
def test_links_in_the_drop_are_not_followed(gate: Gate, tmp_path: Path) -> None:
    """Symbolic links in the drop are neither taken nor walked into."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_bytes(b"secret\n")
    (gate.drop / "link.csv").symlink_to(outside / "secret.csv")
    (gate.drop / "dir").symlink_to(outside)
    gate.clock.ahead = timedelta(minutes=1)
    result = gate.sweeper.run()
    assert result is not None
    assert (result.taken, result.failed) == (0, 0)


def test_one_sweeper_at_a_time(gate: Gate) -> None:
    """While one process sweeps, another one's sweep does nothing."""
    with gate.system.disk.locked(gate.system.layout.sweep_lock):
        assert gate.sweeper.run() is None


def test_partials_expire(gate: Gate) -> None:
    """An interrupted upload can be resumed until partial_ttl has passed; then it is removed."""
    upload = gate.upload("x.csv", b"half of it")
    gate.system.staging.interrupt(upload)
    gate.sweeper.run()
    assert gate.system.staging.partial_at("erp", "x.csv") is not None
    gate.clock.ahead = timedelta(days=1, seconds=5)
    gate.sweeper.run()
    assert gate.system.staging.partial_at("erp", "x.csv") is None
    assert list((gate.store / ".sftpgate/staging/erp").iterdir()) == []


@pytest.mark.promise("P1")
def test_unfinished_upload_gets_no_final_name(gate: Gate) -> None:
    """An interrupted upload cannot be renamed into a name that runners see."""
    gate.system.staging.interrupt(gate.upload("x.tmp", b"half"))
    with pytest.raises(Refused, match="not finished"):
        gate.acts.rename(gate.sender(), "x.tmp", "x.csv", replacing=False, uploads=())
    gate.acts.rename(gate.sender(), "x.tmp", "y.tmp", replacing=False, uploads=())
    assert gate.system.staging.partial_at("erp", "y.tmp") is not None


def open_new(gate: Gate, path: str, declared: int | None = None) -> Upload:
    """An upload that was opened as the gateway does it."""
    mode = OpenMode(create=True, truncate=True, exclusive=False, append=False, declared_size=declared)
    return gate.acts.opening.open(gate.sender(), path, mode, SessionTrace(), ())


def test_quota_of_bytes(make_gate: Any) -> None:
    """An account's pending bytes are limited while it writes, and what found no room is not kept."""
    gate = make_gate(max_pending_bytes=100, free_space_floor=0)
    gate.put("x.csv", b"x" * 60)
    upload = open_new(gate, "y.csv")
    upload.write(gate.system.disk, 0, b"y" * 40)
    with pytest.raises(QuotaExceeded, match="max_pending_bytes"):
        upload.write(gate.system.disk, 40, b"y")
    with pytest.raises(UploadFailed, match="max_pending_bytes"):
        upload.write(gate.system.disk, 40, b"")
    gate.system.staging.interrupt(upload)
    assert list((gate.store / ".sftpgate/staging/erp").iterdir()) == []
    with pytest.raises(QuotaExceeded):
        open_new(gate, "z.csv", declared=41)


def test_quota_of_files(make_gate: Any) -> None:
    """An account's pending files are limited; the limit counts down when a runner takes one."""
    gate = make_gate(max_pending_files=2, free_space_floor=0)
    gate.put("x.csv")
    gate.put("y.csv")
    with pytest.raises(QuotaExceeded, match="max_pending_files"):
        open_new(gate, "z.csv")
    (gate.store / "x.csv").unlink()
    gate.sweeper.run()
    gate.system.staging.discard(open_new(gate, "z.csv"))


@pytest.mark.promise("P3")
@pytest.mark.parametrize("back", [timedelta(), timedelta(hours=-1)])
def test_a_rename_under_a_batch_lock_is_newer_than_what_waited(gate: Gate, back: timedelta) -> None:
    """A file that was renamed to a name under a batch lock takes it when the lock is gone, though it came earlier, and also
    where the clock was set back in between.
    """
    gate.put("x.csv", b"renamed\n")
    gate.put("a.csv", b"waited\n")
    gate.put("alock.txt", b"")
    gate.clock.ahead = back
    gate.acts.rename(gate.sender(), "x.csv", "a.csv", replacing=True, uploads=[])
    assert gate.read("a.csv") == b"waited\n"
    gate.acts.remove(gate.sender(), "alock.txt", [])
    assert gate.read("a.csv") == b"renamed\n"
    assert gate.archived() == [b"waited\n"]


APPEND = OpenMode(create=True, truncate=False, exclusive=False, append=True)


def append_to(gate: Gate, path: str, content: bytes) -> Upload:
    """An upload that continues what a user sees at a path."""
    upload = gate.acts.opening.open(gate.sender(), path, APPEND, SessionTrace(), ())
    upload.write(gate.system.disk, upload.size, content)
    return upload


@pytest.mark.promise("P4")
@pytest.mark.parametrize("path", ["x.csv", "q.csv"])
def test_a_local_file_that_is_continued_runs_once(gate: Gate, path: str) -> None:
    """What a sender appends to a local file of the drop replaces it: the sweeper does not take the original as well."""
    (gate.drop / path).write_bytes(b"local\n")
    gate.publisher.commit([append_to(gate, path, b"sent\n")])
    gate.clock.ahead = timedelta(minutes=5)
    gate.sweeper.run()
    assert gate.read(path) == b"local\nsent\n"
    assert gate.archived() == [b"local\n"]
    assert not (gate.drop / path).exists()


@pytest.mark.promise("P3")
def test_a_local_file_that_changed_meanwhile_is_its_own(gate: Gate) -> None:
    """A local program that writes the file anew, while a sender appends to the earlier content, loses nothing."""
    (gate.drop / "x.csv").write_bytes(b"local\n")
    upload = append_to(gate, "x.csv", b"sent\n")
    (gate.drop / "x.csv").write_bytes(b"a new one\n")
    gate.publisher.commit([upload])
    assert gate.read("x.csv") == b"local\nsent\n"
    assert (gate.drop / "x.csv").read_bytes() == b"a new one\n"


@pytest.mark.promise("P5")
def test_a_local_file_of_an_ignored_name_is_replaced(gate: Gate) -> None:
    """Appending to a file that is never taken works as on any server, and leaves nothing in the archives."""
    (gate.drop / "_notes.csv").write_bytes(b"local\n")
    gate.publisher.commit([append_to(gate, "_notes.csv", b"sent\n")])
    assert (gate.drop / "_notes.csv").read_bytes() == b"local\nsent\n"
    assert gate.archived() == []
