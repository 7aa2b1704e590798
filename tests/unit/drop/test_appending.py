"""Handles that are opened with APPEND, and handles that go on with what is there."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sftpgate.app.runs.claims import make_claims
from sftpgate.drop.opening import OpenMode
from sftpgate.errors import AppendRefused, QuotaExceeded, SftpgateError, TakenMeanwhile, UploadFailed
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import ArrivalState, UploadState
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.runners.claims import Claim
from sftpgate.uploads.terms import SessionTrace
from sftpgate.uploads.upload import Upload
from tests.harness.handover import Gate

OLD = b"0123456789\n"


def append(gate: Gate, path: str = "x.csv", *, uploads: tuple[Upload, ...] = (), **mode: Any) -> Upload:
    """An open upload that continues what is there."""
    how = OpenMode(**({"create": True, "truncate": False, "exclusive": False, "append": True} | mode))
    return gate.acts.opening.open(gate.sender(), path, how, SessionTrace(), uploads)


def content(upload: Upload) -> bytes:
    """What it has."""
    return os.pread(upload.fd, 1 << 20, 0)


def close(gate: Gate, upload: Upload) -> Arrival:
    """CLOSE, as the gateway does it."""
    [outcome] = gate.publisher.commit([upload])
    if isinstance(outcome, SftpgateError):
        gate.system.staging.interrupt(upload)
        raise outcome
    return outcome


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    "offsets",
    [
        pytest.param([0, 3, 6], id="counted from 0"),
        pytest.param([0, 6, 3], id="counted from 0, out of order"),
        pytest.param([0, 0, 0], id="always 0"),
        pytest.param([11, 14, 17], id="true"),
        pytest.param([17, 11, 14], id="true, out of order"),
        pytest.param([14, 17, 11], id="true, the first one last"),
    ],
)
def test_where_writes_go(gate: Gate, offsets: list[int]) -> None:
    """Whichever way a client counts, what it appends is at the end, in its order, and nothing else has changed."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    order = sorted(offsets)
    for number, offset in enumerate(offsets):
        piece = number if offset == 0 else order.index(offset)
        upload.write(gate.system.disk, offset, b"%d%d%d" % (piece, piece, piece))
    close(gate, upload)
    assert gate.read("x.csv") == OLD + b"000111222"


@pytest.mark.promise("P3")
def test_nothing_that_is_there_is_changed(gate: Gate) -> None:
    """A write with APPEND that would change earlier bytes is refused by the rule, and nothing of the upload is taken."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    with pytest.raises(AppendRefused, match="goes to the end"):
        upload.write(gate.system.disk, 5, b"other bytes\n")
    with pytest.raises(UploadFailed, match="goes to the end"):
        close(gate, upload)
    assert gate.read("x.csv") == OLD


@pytest.mark.promise("P1")
def test_a_resume_that_begins_a_little_earlier(gate: Gate) -> None:
    """True offsets may begin before the end, where they bring the bytes that are there."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    upload.write(gate.system.disk, 5, b"56789\nmore\n")
    upload.write(gate.system.disk, 5, b"56789\nmore\n")
    close(gate, upload)
    assert gate.read("x.csv") == OLD + b"more\n"


@pytest.mark.promise("P1")
def test_an_append_that_leaves_a_gap(gate: Gate) -> None:
    """True offsets that leave a gap make an upload that is incomplete."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    upload.write(gate.system.disk, 20, b"later\n")
    with pytest.raises(SftpgateError, match="from 11 to 20"):
        close(gate, upload)
    assert gate.read("x.csv") == OLD


@pytest.mark.promise("P1")
def test_an_append_after_a_cut(gate: Gate) -> None:
    """What is counted from 0 goes to the end of the file as it is after its size was set on the handle."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    upload.truncate(gate.system.disk, 5)
    upload.write(gate.system.disk, 0, b"56")
    upload.write(gate.system.disk, 2, b"\n")
    assert content(upload) == b"0123456\n"
    gate.system.staging.discard(upload)


@pytest.mark.promise("P1")
def test_an_append_to_an_upload_that_is_under_way(gate: Gate) -> None:
    """What counts from 0 is not put behind half of a file that another session is still sending; a resume is."""
    first = gate.upload("x.csv", b"half of")
    line = append(gate, uploads=(first,))
    with pytest.raises(AppendRefused, match="still uploading"):
        line.write(gate.system.disk, 0, b"a line\n")
    resumed = append(gate, uploads=(first,))
    resumed.write(gate.system.disk, 7, b" it\n")
    close(gate, resumed)
    assert gate.read("x.csv") == b"half of it\n"
    for upload in (first, line):
        gate.system.staging.discard(upload)


# -- what a tool takes meanwhile -------------------------------------------------------------------------------------


def take(gate: Gate, path: str) -> Claim:
    """A tool takes what waits."""
    claim = make_claims(gate.system).take("queue" if path == "q.csv" else "any")
    assert claim is not None
    return claim


@pytest.fixture
def tools(make_gate: Any) -> Gate:
    """A gate with a tool for each file."""
    made: Gate = make_gate(
        tools={
            "queue": {"file": "q.csv", "command": ["true"], "arrivals": "queue"},
            "any": {"file": "x.csv", "command": ["true"]},
        }
    )
    return made


@pytest.mark.promise("P4")
@pytest.mark.parametrize("path", ["x.csv", "q.csv"])
def test_an_append_to_a_file_that_a_tool_takes_meanwhile(tools: Gate, path: str) -> None:
    """Its CLOSE is refused, and nothing stays to be resumed, or the lines that the tool has would run again."""
    tools.put(path, OLD)
    upload = append(tools, path)
    upload.write(tools.system.disk, 0, b"more\n")
    take(tools, path)
    with pytest.raises(TakenMeanwhile, match="as a file of its own"):
        close(tools, upload)
    assert tools.acts._sender_view.lookup("erp", path) is None
    assert list(tools.system.staging.partials("erp")) == [] and not list(upload.disk_path.parent.local.iterdir())


@pytest.mark.promise("P4")
@pytest.mark.parametrize("path", ["x.csv", "q.csv"])
def test_an_append_that_breaks_off_before_a_tool_takes_the_file(tools: Gate, path: str) -> None:
    """A broken append can be resumed as long as its file waits, and takes its place then; after that it is not offered."""
    first = tools.put(path, OLD)
    upload = append(tools, path)
    upload.write(tools.system.disk, 0, b"mo")
    tools.system.staging.interrupt(upload)
    resumed = append(tools, path)
    resumed.write(tools.system.disk, len(OLD) + 2, b"re\n")
    close(tools, resumed)
    assert tools.read(path) == OLD + b"more\n" and tools.now(first).state is ArrivalState.REPLACED
    upload = append(tools, path)
    upload.write(tools.system.disk, 0, b"and m")
    tools.system.staging.interrupt(upload)
    claim = take(tools, path)
    assert claim.path.read_bytes() == OLD + b"more\n"
    assert tools.acts._sender_view.lookup("erp", path) is None
    with pytest.raises(AppendRefused, match="without its beginning"):
        append(tools, path)


@pytest.mark.promise("P1")
def test_a_piece_without_its_beginning(tools: Gate) -> None:
    """An append to a name that a tool has just taken is refused by the rule; an hour later it begins a new file."""
    tools.put("x.csv", OLD)
    claim = take(tools, "x.csv")
    with pytest.raises(AppendRefused, match="without its beginning"):
        append(tools)
    make_claims(tools.system).end(claim, ClaimEnd(outcome=RunOutcome.DONE))
    with pytest.raises(AppendRefused, match="without its beginning"):
        append(tools)
    tools.system.staging.discard(append(tools, append=False))
    tools.system.staging.discard(append(tools, truncate=True))
    tools.clock.ahead = timedelta(minutes=61)
    upload = append(tools)
    upload.write(tools.system.disk, 0, b"new\n")
    close(tools, upload)
    assert tools.read("x.csv") == b"new\n"


@pytest.mark.promise("P1")
def test_an_append_to_what_a_plain_program_has_just_taken(gate: Gate) -> None:
    """The same where nobody has noticed yet that the file was taken from the store."""
    gate.put("x.csv", OLD)
    (gate.store / "x.csv").unlink()
    with pytest.raises(AppendRefused, match="without its beginning"):
        append(gate)


@pytest.mark.promise("P5")
def test_an_append_to_what_its_sender_removed(gate: Gate) -> None:
    """A sender that removes its file and appends to the name begins a new one."""
    gate.put("x.csv", OLD)
    gate.acts.remove(gate.sender(), "x.csv", [])
    upload = append(gate)
    upload.write(gate.system.disk, 0, b"new\n")
    close(gate, upload)
    assert gate.read("x.csv") == b"new\n"


@pytest.mark.promise("P1")
def test_an_append_that_had_come_whole(gate: Gate) -> None:
    """Where only the CLOSE of an append was lost, a resume that finds nothing to write ends it."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    upload.write(gate.system.disk, 0, b"more\n")
    gate.system.staging.interrupt(upload)
    assert close(gate, append(gate)).size == len(OLD) + 5
    assert list(gate.system.staging.partials("erp")) == []


@pytest.mark.promise("P1")
@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("there", ["waiting", "partial"])
def test_a_broken_change_is_no_mixture(gate: Gate, there: str, noted: bool) -> None:
    """Of a handle without truncation that breaks off only what it wrote anew from the beginning is kept, and nothing of what
    was there before is behind it; what was changed in the middle is not kept at all.
    """
    if there == "waiting":
        gate.put("x.csv", OLD)
    else:
        gate.system.staging.interrupt(gate.upload("x.csv", OLD))
    whole = append(gate, append=False)
    whole.write(gate.system.disk, 0, b"NEW")
    if noted:
        gate.system.staging.note(whole)
    else:
        gate.system.staging.interrupt(whole)
    seen = gate.acts._sender_view.lookup("erp", "x.csv")
    assert seen is not None and seen.disk_path.local.read_bytes()[: seen.size] == b"NEW"
    if there == "waiting" and not noted:
        gate.acts.remove(gate.sender(), "x.csv", [])
        gate.put("x.csv", OLD)
        middle = append(gate, append=False)
        middle.write(gate.system.disk, 4, b"X")
        gate.system.staging.interrupt(middle)
        assert list(gate.system.staging.partials("erp")) == []
    if noted:
        gate.system.staging.discard(whole)


# -- two at a time ---------------------------------------------------------------------------------------------------


@pytest.mark.promise("P3")
@pytest.mark.parametrize("offset", [0, len(OLD)])
@pytest.mark.parametrize("path", ["x.csv", "_x.csv"])
def test_two_appends_at_a_time(gate: Gate, path: str, offset: int) -> None:
    """Whoever closes first is in the file; the other one's CLOSE is refused, and its lines are not lost without a word."""
    gate.put(path, OLD)
    first = append(gate, path)
    first.write(gate.system.disk, offset, b"one\n")
    second = append(gate, path, uploads=(first,))
    second.write(gate.system.disk, offset, b"two\n")
    close(gate, second)
    with pytest.raises(TakenMeanwhile):
        close(gate, first)
    seen = gate.acts._sender_view.lookup("erp", path)
    assert seen is not None and seen.disk_path.local.read_bytes() == OLD + b"two\n"


@pytest.mark.promise("P3")
def test_two_appends_of_two_processes(gate: Gate, tmp_path: Path) -> None:
    """The same where another worker has the first one open, and knows it by its note alone."""
    gate.put("x.csv", OLD)
    first = append(gate)
    first.write(gate.system.disk, 0, b"one\n")
    gate.system.staging.note(first)
    second = append(gate)
    assert second.size == len(OLD)
    second.write(gate.system.disk, 0, b"two\n")
    close(gate, second)
    with pytest.raises(TakenMeanwhile):
        close(gate, first)
    assert gate.read("x.csv") == OLD + b"two\n"


@pytest.mark.promise("P3")
def test_two_appends_to_a_local_file(gate: Gate) -> None:
    """The same for a file that another program put into the drop."""
    (gate.drop / "x.csv").write_bytes(OLD)
    uploads = [append(gate), append(gate)]
    for number, upload in enumerate(uploads):
        upload.write(gate.system.disk, 0, b"%d\n" % number)
    close(gate, uploads[0])
    with pytest.raises(TakenMeanwhile):
        close(gate, uploads[1])
    assert gate.read("x.csv") == OLD + b"0\n" and gate.archived() == [OLD]


@pytest.mark.promise("P1")
def test_a_whole_file_over_one_that_a_tool_takes_meanwhile(tools: Gate) -> None:
    """What scp sends without truncation is a file of its own where every byte of it is new."""
    tools.put("x.csv", OLD)
    upload = append(tools, append=False)
    take(tools, "x.csv")
    upload.write(tools.system.disk, 0, b"anew\n")
    upload.truncate(tools.system.disk, 5)
    close(tools, upload)
    assert tools.read("x.csv") == b"anew\n"


# -- nothing was changed ---------------------------------------------------------------------------------------------


@pytest.mark.promise("P4")
@pytest.mark.parametrize("path", ["x.csv", "q.csv", "_x.csv"])
@pytest.mark.parametrize("how", ["nothing", "size", "same bytes", "empty write"])
def test_a_file_that_is_opened_again_and_left_as_it_was(gate: Gate, path: str, how: str) -> None:
    """A resume of a file that is complete already is no second arrival; its times are set."""
    arrival = gate.put(path, OLD)
    upload = append(gate, path, append=how == "nothing")
    match how:
        case "size":
            upload.truncate(gate.system.disk, len(OLD))
        case "same bytes":
            upload.write(gate.system.disk, 3, OLD[3:])
        case "empty write":
            upload.write(gate.system.disk, len(OLD), b"")
    upload.set_times((5_000_000_000, 5_000_000_000))
    assert close(gate, upload).id == arrival.id and upload.state is UploadState.DISCARDED
    assert gate.now(arrival).state is arrival.state and gate.archived() == []
    seen = gate.acts._sender_view.lookup("erp", path)
    assert seen is not None and seen.status.st_mtime == 5 and seen.disk_path.local.read_bytes() == OLD
    assert not list(upload.disk_path.parent.local.iterdir())


@pytest.mark.promise("P4")
def test_a_file_that_a_tool_takes_while_it_is_open_and_left_as_it_was(tools: Gate) -> None:
    """Nothing was written, so nothing is refused, and nothing comes back."""
    arrival = tools.put("x.csv", OLD)
    upload = append(tools)
    take(tools, "x.csv")
    assert close(tools, upload).id == arrival.id and tools.read("x.csv") is None


@pytest.mark.promise("P1")
def test_a_doubtful_file_that_is_sent_again_without_truncation(gate: Gate) -> None:
    """The same content over a file that is held for being doubtful is an arrival of its own: it says something."""
    held = gate.put("x.csv", b"y" * 65536)
    upload = append(gate, append=False)
    upload.write(gate.system.disk, 0, b"y" * 65536)
    assert close(gate, upload).id != held.id


@pytest.mark.promise("P1")
def test_a_partial_that_was_whole_already(gate: Gate) -> None:
    """A resume that finds every byte there ends the upload: it is judged, and is no partial any more."""
    upload = gate.upload("x.csv", OLD)
    gate.system.staging.interrupt(upload)
    assert close(gate, append(gate, append=False)).size == len(OLD)
    assert list(gate.system.staging.partials("erp")) == []


# -- what an append costs --------------------------------------------------------------------------------------------


@pytest.mark.promise("P3")
def test_an_append_archives_nothing(gate: Gate) -> None:
    """What was there is in the longer file, so it is not kept a second time; a file that is changed is."""
    first = gate.put("x.csv", OLD)
    for number in range(5):
        upload = append(gate)
        upload.write(gate.system.disk, 0, b"%d\n" % number)
        close(gate, upload)
    assert gate.archived() == [] and gate.now(first).state is ArrivalState.REPLACED
    content = gate.read("x.csv")
    changed = append(gate, append=False)
    changed.write(gate.system.disk, 0, b"X")
    close(gate, changed)
    assert gate.archived() == [content]


@pytest.mark.promise("P7")
def test_changes_in_place_that_would_fill_the_archives(make_gate: Any) -> None:
    """The earlier versions that changes of a few bytes put into the archives in a day are bounded by max_pending_bytes, for
    writes and for sizes that are set; whole files and appends are not refused for it, and the next day there is room again.
    """
    gate: Gate = make_gate(max_pending_bytes=300, free_space_floor=0)
    gate.clock.ahead = -(datetime.now(UTC) - datetime.now(UTC).replace(hour=12))  # noon: the day does not end in the test
    gate.put("x.csv", b"x" * 99 + b"\n")
    for number in range(3):
        changed = append(gate, append=False)
        changed.write(gate.system.disk, 7, b"%d" % number)
        close(gate, changed)
    changed = append(gate, append=False)
    changed.write(gate.system.disk, 7, b"y")
    with pytest.raises(QuotaExceeded, match="max_pending_bytes"):
        close(gate, changed)
    with pytest.raises(QuotaExceeded, match="max_pending_bytes"):
        gate.acts.truncate(gate.sender(), "x.csv", 8, [])
    assert sum(map(len, gate.archived())) == 300 and not list(changed.disk_path.parent.local.iterdir())
    longer = append(gate)
    longer.write(gate.system.disk, 0, b"more\n")
    close(gate, longer)
    whole = append(gate, append=False)
    whole.write(gate.system.disk, 0, b"z" * 104 + b"\n")
    close(gate, whole)
    gate.clock.ahead += timedelta(days=1)
    gate.acts.truncate(gate.sender(), "x.csv", 8, [])
    assert gate.read("x.csv") == b"z" * 8


@pytest.mark.promise("P4")
def test_the_size_of_a_local_file(gate: Gate) -> None:
    """A local file of the drop that a sender cuts is set aside, and does not run for itself as well."""
    (gate.drop / "x.csv").write_bytes(OLD)
    gate.acts.truncate(gate.sender(), "x.csv", 5, [])
    gate.clock.ahead = timedelta(minutes=5)
    gate.sweeper.run()
    assert gate.read("x.csv") == OLD[:5] and gate.archived() == [OLD]
