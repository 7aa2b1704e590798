"""Uploads and their staging files: writes, notes, and what of an interrupted one can be trusted."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from sftpgate.errors import NoSpace, Refused, StorageError, TooLarge, TooScattered, UploadFailed, UploadIncomplete
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.coverage import MAX_RANGES
from sftpgate.policy.evidence import Grade, GradedEvidence
from sftpgate.policy.lifecycle import UploadState
from sftpgate.store.disk import Disk
from sftpgate.uploads.completeness import Judge
from sftpgate.uploads.notes import path_hash
from sftpgate.uploads.open_uploads import OpenUploads
from sftpgate.uploads.terms import SessionTrace, UploadBounds
from sftpgate.uploads.upload import Upload
from tests.harness.handover import Gate


def begin(gate: Gate, path: str = "a.csv", *, user: str = "erp", **options: Any) -> Upload:
    """An empty upload."""
    return gate.system.staging.create(gate.sender(user), path, SessionTrace(), **options)


def write(gate: Gate, upload: Upload, offset: int, content: bytes) -> None:
    """One WRITE."""
    upload.write(gate.system.disk, offset, content)


def verdict(gate: Gate, upload: Upload) -> GradedEvidence:
    """What is thought of it."""
    return Judge(gate.system.resources).verdict(upload, upload.progress.finish(upload.fd))


@pytest.mark.promise("P1")
def test_staging_is_private(gate: Gate) -> None:
    """The bytes of an upload are in a file of its own that nobody else may read, and not in the store."""
    one, two = begin(gate), begin(gate)
    write(gate, one, 0, b"x")
    assert one.disk_path != two.disk_path and one.disk_path.parent.local.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in gate.store.iterdir() if path.is_file()] == []
    for upload in (one, two):
        gate.system.staging.discard(upload)
    assert not list(one.disk_path.parent.local.iterdir())


@pytest.mark.promise("P1")
def test_a_failed_write_is_for_good(gate: Gate) -> None:
    """After a write that failed no write succeeds, and the upload cannot be complete."""
    upload = begin(gate)
    upload.bound(UploadBounds(max_bytes=10))
    write(gate, upload, 0, b"12345678")
    with pytest.raises(TooLarge):
        write(gate, upload, 8, b"9012")
    assert upload.state is UploadState.FAILED
    with pytest.raises(UploadFailed, match="max_upload_bytes"):
        write(gate, upload, 8, b"9")
    with pytest.raises(UploadFailed):
        upload.require_complete()
    with pytest.raises(UploadFailed):
        upload.truncate(gate.system.disk, 0)
    [outcome] = gate.publisher.commit([upload])
    assert isinstance(outcome, UploadFailed) and gate.read("a.csv") is None
    gate.system.staging.interrupt(upload)
    assert not list(gate.system.staging.partials("erp"))


class FullDisk(Disk):
    """A disk that has no space left for writing."""

    def write(self, fd: int, offset: int, *pieces: bytes | memoryview) -> None:
        """Fails."""
        raise NoSpace()


@pytest.mark.promise("P1")
def test_a_full_disk(gate: Gate) -> None:
    """Where the disk is full the upload fails, and its bytes are not kept: they would keep others from the disk."""
    upload = begin(gate)
    write(gate, upload, 0, b"x" * 100)
    with pytest.raises(NoSpace):
        upload.write(FullDisk(), 100, b"x")
    gate.system.staging.interrupt(upload)
    assert not list(upload.disk_path.parent.local.iterdir())


@pytest.mark.promise("P1")
def test_gaps(gate: Gate) -> None:
    """An upload with a gap is not complete, until the gap is filled or cut off."""
    upload = begin(gate)
    write(gate, upload, 0, b"aaaa")
    write(gate, upload, 8, b"cccc")
    with pytest.raises(UploadIncomplete) as caught:
        upload.require_complete()
    assert (caught.value.start, caught.value.end) == (4, 8) and upload.progress.trusted_bytes == 4
    write(gate, upload, 4, b"bbbb")
    upload.require_complete()
    upload.truncate(gate.system.disk, 20)
    with pytest.raises(UploadIncomplete):
        upload.require_complete()
    upload.truncate(gate.system.disk, 6)
    upload.require_complete()
    assert verdict(gate, upload).grade is Grade.PLAUSIBLE, "a size that is set to what was written says nothing new"
    gate.system.staging.discard(upload)


@pytest.mark.promise("P1")
def test_the_session_knows_how_long_writes_can_be(gate: Gate) -> None:
    """The last write of a file is the tail where the same session has made longer ones before."""
    trace = SessionTrace()
    first = gate.system.staging.create(gate.sender(), "a.csv", trace)
    write(gate, first, 0, b"a" * 32768)
    second = gate.system.staging.create(gate.sender(), "b.csv", trace)
    write(gate, second, 0, b"a" * 24576)
    assert (verdict(gate, first).grade, verdict(gate, second).grade) == (Grade.SUSPECT, Grade.PLAUSIBLE)
    for upload in (first, second):
        gate.system.staging.discard(upload)


@pytest.mark.promise("P1")
def test_an_interrupted_upload_is_kept_to_its_first_gap(gate: Gate) -> None:
    """Of an upload with a gap the bytes before the gap can be resumed from, and no others."""
    upload = begin(gate)
    write(gate, upload, 0, b"aaaa")
    write(gate, upload, 8, b"cccc")
    gate.system.staging.interrupt(upload)
    [partial] = gate.system.staging.partials("erp")
    assert (partial.path, partial.size) == ("a.csv", 4)
    resumed = gate.system.staging.resume(partial, gate.sender(), SessionTrace())
    assert resumed.size == 4 and os.fstat(resumed.fd).st_size == 4 and resumed.id != upload.id
    gate.system.staging.discard(resumed)


@pytest.mark.promise("P2")
def test_after_a_reboot_only_what_was_flushed_is_trusted(gate: Gate) -> None:
    """The note of another boot is believed for what was flushed, as the page cache is gone."""
    upload = begin(gate)
    write(gate, upload, 0, b"a" * 1000)
    gate.system.staging.note(upload)
    note = upload.disk_path.parent.local / upload.note.name
    written = json.loads(note.read_text())
    assert [partial.size for partial in gate.system.staging.partials("erp")] == [1000]
    note.write_text(json.dumps(written | {"boot": "another"}))
    assert not list(gate.system.staging.partials("erp"))
    note.write_text(json.dumps(written | {"boot": "another", "synced_bytes": 400}))
    assert [partial.size for partial in gate.system.staging.partials("erp")] == [400]
    gate.system.staging.discard(upload)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"path": 1}', b"\xff", b'{"path": "a.csv", "boot": "x"}'])
def test_a_note_that_cannot_be_read(gate: Gate, content: bytes) -> None:
    """A damaged note makes its upload one that cannot be resumed, and hides no others."""
    for path in ("a.csv", "b.csv"):
        upload = begin(gate, path)
        write(gate, upload, 0, b"a")
        gate.system.staging.interrupt(upload)
    partial = gate.system.staging.partial_at("erp", "a.csv")
    assert partial is not None
    (gate.store / ".sftpgate/staging/erp" / partial.notes[0]).write_bytes(content)
    assert [found.path for found in gate.system.staging.partials("erp")] == ["b.csv"]


@pytest.mark.promise("P5")
def test_a_look_at_one_path_reads_its_own_notes(gate: Gate) -> None:
    """However many interrupted uploads a user has, a look at one path reads the notes of that path alone."""
    for path in ("a.csv", *(f"{number}.csv" for number in range(20))):
        upload = begin(gate, path)
        write(gate, upload, 0, b"a")
        gate.system.staging.interrupt(upload)
    for note in (gate.store / ".sftpgate/staging/erp").glob("*.json"):
        if path_hash("a.csv") not in note.name:
            note.write_bytes(b"was not read")
    assert [found.path for found in gate.system.staging.partials("erp")] == ["a.csv"]
    assert gate.system.staging.partial_at("erp", "a.csv") is not None
    assert gate.system.staging.partial_at("erp", "1.csv") is None


@pytest.mark.promise("P2")
def test_a_note_of_an_earlier_version(gate: Gate) -> None:
    """An upload whose note has the name that earlier versions gave it is found, resumed, and leaves nothing behind."""
    upload = begin(gate)
    write(gate, upload, 0, b"half")
    gate.system.staging.interrupt(upload)
    directory = upload.disk_path.parent.local
    (directory / upload.note.name).rename(directory / f"{upload.id}.json")
    partial = gate.system.staging.partial_at("erp", "a.csv")
    assert partial is not None and partial.size == 4
    resumed = gate.system.staging.resume(partial, gate.sender(), SessionTrace())
    gate.system.staging.discard(resumed)
    assert not list(directory.iterdir())


@pytest.mark.promise("P5")
def test_a_renamed_upload_has_one_note(gate: Gate) -> None:
    """The note of a renamed upload is found under the new path alone; of two that a crash left the later holds."""
    upload = begin(gate, "a.tmp")
    write(gate, upload, 0, b"half")
    gate.system.staging.note(upload)
    before = (upload.disk_path.parent / upload.note.name).local
    content = before.read_bytes()
    gate.acts.rename(gate.sender(), "a.tmp", "b.tmp", replacing=False, uploads=[upload])
    assert gate.system.staging.partial_at("erp", "a.tmp") is None
    gate.system.staging.interrupt(upload)
    before.write_bytes(content)
    found = gate.system.staging.partial_at("erp", "b.tmp")
    assert found is not None and gate.system.staging.partial_at("erp", "a.tmp") is None
    gate.acts.rename(gate.sender(), "b.tmp", "a.tmp", replacing=False, uploads=[])
    assert [partial.path for partial in gate.system.staging.partials("erp")] == ["a.tmp"]
    gate.acts.remove(gate.sender(), "a.tmp", [])
    assert not list(before.parent.iterdir())


@pytest.mark.promise("P5")
def test_an_upload_that_another_process_has_open(gate: Gate) -> None:
    """What a session of another worker is still writing is neither renamed nor removed behind its back, and says why."""
    upload = begin(gate, "a.tmp")
    write(gate, upload, 0, b"half")
    gate.system.staging.note(upload)
    with pytest.raises(Refused, match="still uploading"):
        gate.acts.rename(gate.sender(), "a.tmp", "b.tmp", replacing=False, uploads=[])
    with pytest.raises(Refused, match="still uploading"):
        gate.acts.remove(gate.sender(), "a.tmp", [])
    gate.system.staging.interrupt(upload)
    gate.acts.rename(gate.sender(), "a.tmp", "b.tmp", replacing=False, uploads=[])
    gate.acts.remove(gate.sender(), "b.tmp", [])
    assert not list(upload.disk_path.parent.local.iterdir())


@pytest.mark.promise("P1")
def test_two_writers_never_share_a_file(gate: Gate) -> None:
    """An upload that another connection still has open is resumed on a copy."""
    upload = begin(gate)
    write(gate, upload, 0, b"half")
    gate.system.staging.note(upload)
    [partial] = gate.system.staging.partials("erp")
    resumed = gate.system.staging.resume(partial, gate.sender(), SessionTrace())
    write(gate, upload, 4, b"old")
    write(gate, resumed, 4, b"new!\n")
    assert os.pread(resumed.fd, 100, 0) == b"halfnew!\n" and os.pread(upload.fd, 100, 0) == b"halfold"
    assert not gate.system.staging.remove_idle("erp", upload.id, [upload.note.name])
    for each in (upload, resumed):
        gate.system.staging.discard(each)


@pytest.mark.promise("P5")
def test_register(gate: Gate) -> None:
    """A user has its own open uploads, oldest first; one that is published leaves nothing of older ones of its path."""
    open_uploads = OpenUploads(gate.system.staging)
    one, two, foreign = begin(gate), begin(gate), begin(gate, user="other")
    for upload in (one, two, foreign):
        open_uploads.add(upload)
    assert open_uploads.of_user("erp") == [one, two] and open_uploads.of_user("other") == [foreign]
    assert open_uploads.of_user("nobody") == [] and len(open_uploads) == 3 and not open_uploads.empty.is_set()
    open_uploads.supersede(two)
    assert [upload.fate.is_superseded for upload in (one, two, foreign)] == [True, False, False]
    for upload in (one, two, foreign):
        open_uploads.remove(upload)
        gate.system.staging.discard(upload)
    assert open_uploads.empty.is_set() and not list(open_uploads)


@pytest.mark.promise("P5")
def test_a_removed_upload_is_not_seen(gate: Gate) -> None:
    """An open upload that its user has removed is not there any more, for nobody."""
    open_uploads = OpenUploads(gate.system.staging)
    upload = begin(gate)
    open_uploads.add(upload)
    write(gate, upload, 0, b"x")
    gate.acts.remove(gate.sender(), "a.csv", open_uploads.of_user("erp"))
    assert upload not in open_uploads.of_user("erp")
    gate.system.staging.discard(upload)


@pytest.mark.promise("P7")
def test_pieces_that_leave_too_many_gaps(gate: Gate) -> None:
    """An upload whose pieces leave more gaps than any client's do is refused by the rule, and fails for good."""
    upload = begin(gate)
    with pytest.raises(TooScattered, match="beginning to its end"):
        for number in range(MAX_RANGES + 1):
            write(gate, upload, 2 * number, b"x")
    with pytest.raises(UploadFailed, match="beginning to its end"):
        write(gate, upload, 1, b"x")
    gate.system.staging.discard(upload)


class Slow(Disk):
    """A disk on which somebody does something at the end of each truncation."""

    then: Callable[[], None]

    def truncate(self, fd: int, size: int) -> None:
        """Truncates, and calls ``then``."""
        super().truncate(fd, size)
        self.then()


@pytest.mark.promise("P8")
def test_a_size_that_is_set_beside_writes(gate: Gate) -> None:
    """A size that another session sets while a file is written changes nothing in between: the record has the file's hash."""
    upload, disk = begin(gate), Slow()
    write(gate, upload, 0, b"A" * 10)
    writer = Thread(target=lambda: write(gate, upload, 10, b"B" * 10))

    def then() -> None:
        assert upload.fate.lock.locked()
        writer.start()

    disk.then = then
    upload.truncate(disk, 10)
    writer.join()
    [outcome] = gate.publisher.commit([upload])
    assert isinstance(outcome, Arrival)
    assert (outcome.size, outcome.sha256) == (20, hashlib.sha256(b"A" * 10 + b"B" * 10).hexdigest())


@pytest.mark.promise("P1")
def test_nobody_changes_an_upload_that_has_ended(gate: Gate) -> None:
    """What another session of the user asks of an upload at its end is refused, and reaches no other file's descriptor."""
    ended = begin(gate)
    write(gate, ended, 0, b"half")
    number = ended.fd
    gate.system.staging.interrupt(ended)
    other = begin(gate, "b.csv")
    write(gate, other, 0, b"whole\n")
    assert other.fd == number, "the kernel gives the number again"
    with pytest.raises(Refused, match="finished at this moment"):
        ended.truncate(gate.system.disk, 1)
    with pytest.raises(Refused, match="finished at this moment"):
        ended.set_times((1, 1))
    with pytest.raises(Refused, match="finished at this moment"):
        ended.renamed("c.tmp")
    with pytest.raises(UploadFailed):
        write(gate, ended, 0, b"X")
    with pytest.raises(StorageError):
        ended.stat()
    assert os.pread(other.fd, 10, 0) == b"whole\n"
    gate.system.staging.discard(other)
