"""One file in chunks over several handles at a time: one file or none, and whole uploads beside each other as ever."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from sftpgate.drop.opening import OpenMode
from sftpgate.errors import SftpgateError, SharedUpload, UploadIncomplete
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.sharing import Handle, Share, is_in_the_way
from sftpgate.uploads.terms import SessionTrace
from sftpgate.uploads.upload import Upload
from tests.harness.handover import Gate

CHUNK = 16
WHOLE = b"".join(b"line,%09d,\n" % number for number in range(3 * CHUNK // 16))


def open_(gate: Gate, *uploads: Upload, truncate: bool = False) -> Upload:
    """OPEN; ``uploads`` are those that this process has open."""
    mode = OpenMode(create=True, truncate=truncate, exclusive=False, append=False)
    return gate.acts.opening.open(gate.sender(), "x.csv", mode, SessionTrace(), uploads)


def write(gate: Gate, upload: Upload, offset: int, content: bytes) -> None:
    """One WRITE, with the note that the gateway writes after it."""
    upload.write(gate.system.disk, offset, content)
    if upload.has_unnoted_share:
        gate.system.staging.note(upload)


def close(gate: Gate, upload: Upload) -> Arrival | SftpgateError:
    """CLOSE, as the gateway does it."""
    [outcome] = gate.publisher.commit([upload])
    if isinstance(outcome, SftpgateError):
        gate.system.staging.interrupt(upload)
    return outcome


@pytest.mark.promise("P1")
@pytest.mark.parametrize("first", [None, b"", b"an older file\n", b"o" * len(WHOLE)], ids=["new", "empty", "shorter", "as long"])
@pytest.mark.parametrize("is_one_process", [True, False], ids=["one process", "several"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_chunks(gate: Gate, first: bytes | None, is_one_process: bool, order: Sequence[int]) -> None:
    """Whichever of the handles is closed first, none of them publishes its part, nor a mixture with an earlier file."""
    if first is not None:
        gate.put("x.csv", first)
    uploads: list[Upload] = []
    for _ in range(3):
        uploads.append(open_(gate, *(uploads if is_one_process else ())))
    for number, upload in enumerate(uploads):
        write(gate, upload, number * CHUNK, WHOLE[number * CHUNK : (number + 1) * CHUNK])
    for number in order:
        outcome = close(gate, uploads[number])
        assert isinstance(outcome, (SharedUpload, UploadIncomplete)), outcome
        assert gate.read("x.csv") == first
    assert isinstance(gate.put("x.csv", WHOLE), Arrival), "the whole file by one handle"
    assert gate.read("x.csv") == WHOLE and not list((gate.store / ".sftpgate/staging/erp").iterdir())


@pytest.mark.promise("P1")
@pytest.mark.parametrize("closes_first", [True, False])
def test_the_first_chunk_by_the_handle_that_made_the_file(gate: Gate, closes_first: bool) -> None:
    """The same where the first handle truncated the file and writes the first chunk itself."""
    head = open_(gate, truncate=True)
    part = open_(gate, head)
    write(gate, head, 0, WHOLE[:CHUNK])
    write(gate, part, CHUNK, WHOLE[CHUNK:])
    for upload in (head, part) if closes_first else (part, head):
        assert isinstance(close(gate, upload), SftpgateError)
    assert gate.read("x.csv") is None


@pytest.mark.promise("P1")
def test_a_handle_that_has_not_begun(gate: Gate) -> None:
    """A first chunk that is closed before the others have written anything is not taken for the whole."""
    head = open_(gate)
    part = open_(gate, head)
    write(gate, head, 0, WHOLE[:CHUNK])
    assert isinstance(close(gate, head), SharedUpload)
    gate.system.staging.discard(part)


@pytest.mark.promise("P3")
def test_whole_uploads_at_a_time(gate: Gate) -> None:
    """Two that truncate, or that write from the beginning as scp does, are each whole; the last one to close has the name."""
    for truncate in (True, False):
        uploads = [open_(gate, truncate=truncate), open_(gate, truncate=truncate)]
        for number, upload in enumerate(uploads):
            write(gate, upload, 0, b"%d" % number)
            write(gate, upload, 1, b"-%d\n" % number)
        for upload in reversed(uploads):
            assert isinstance(close(gate, upload), Arrival)
        assert gate.read("x.csv") == b"0-0\n" and b"1-1\n" in gate.archived()


@pytest.mark.promise("P1")
def test_an_upload_that_another_handle_goes_on_with(gate: Gate) -> None:
    """It is for that one to finish it; where that has ended, the first one may."""
    old = open_(gate, truncate=True)
    write(gate, old, 0, WHOLE[:CHUNK])
    new = open_(gate, old)
    write(gate, new, CHUNK, WHOLE[CHUNK : 2 * CHUNK])
    assert isinstance(close(gate, old), SharedUpload)
    write(gate, new, 2 * CHUNK, WHOLE[2 * CHUNK :])
    assert isinstance(close(gate, new), Arrival)
    assert gate.read("x.csv") == WHOLE


@pytest.mark.promise("P1")
@pytest.mark.parametrize("is_one_process", [True, False], ids=["one process", "several"])
@pytest.mark.parametrize("second_breaks_off", [False, True])
def test_an_upload_that_another_handle_has_finished(gate: Gate, is_one_process: bool, second_breaks_off: bool) -> None:
    """A beginning whose CLOSE comes late never takes the place of the whole file that was made of it, over two resumes."""
    others: list[Upload] = []
    first = open_(gate, truncate=True)
    write(gate, first, 0, WHOLE[:CHUNK])
    gate.system.staging.note(first)
    others += [first] if is_one_process else []
    second = open_(gate, *others)
    write(gate, second, CHUNK, WHOLE[CHUNK : 2 * CHUNK])
    gate.system.staging.note(second)
    if second_breaks_off:
        gate.system.staging.interrupt(second)
    elif is_one_process:
        others.append(second)
    third = open_(gate, *([] if second_breaks_off else others))
    write(gate, third, 2 * CHUNK, WHOLE[2 * CHUNK :])
    assert isinstance(close(gate, third), Arrival) and gate.read("x.csv") == WHOLE
    for late in [first] if second_breaks_off else [second, first]:
        assert isinstance(close(gate, late), SharedUpload)
    assert gate.read("x.csv") == WHOLE and not list((gate.store / ".sftpgate/staging/erp").iterdir())
    assert isinstance(gate.put("x.csv", b"anew\n"), Arrival) and gate.read("x.csv") == b"anew\n"


@pytest.mark.promise("P5")
def test_a_new_attempt_beside_what_is_left_of_chunks(gate: Gate) -> None:
    """An upload that begins anew is not refused for chunks whose handles are open still, or whose process died."""
    part = open_(gate)
    write(gate, part, CHUNK, WHOLE[CHUNK:])
    again = open_(gate, part, truncate=True)
    write(gate, again, 0, WHOLE)
    assert isinstance(close(gate, again), Arrival)
    part.close()  # the kernel takes its lock away, and nobody says that it has ended
    as_scp_does = open_(gate)
    write(gate, as_scp_does, 0, WHOLE + b"more\n")
    assert isinstance(close(gate, as_scp_does), Arrival)


@pytest.mark.promise("P1")
def test_one_handle_in_any_order(gate: Gate) -> None:
    """One handle may write in any order, with or without truncation, and change a waiting file in its middle."""
    upload = open_(gate)
    for start in (CHUNK, 0, 2 * CHUNK):
        write(gate, upload, start, WHOLE[start : start + CHUNK])
    assert isinstance(close(gate, upload), Arrival) and gate.read("x.csv") == WHOLE
    changed = open_(gate)
    write(gate, changed, 5, b"X")
    assert isinstance(close(gate, changed), Arrival) and gate.read("x.csv") == WHOLE[:5] + b"X" + WHOLE[6:]


SHARES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {"share": Share.WHOLE}, False),
    ({}, {"share": Share.PART}, True),
    ({}, {"share": Share.PART, "ended": "3"}, True),
    ({}, {"share": Share.PART, "ended": "1"}, False),
    ({}, {"share": Share.PART, "id": "1"}, True),
    ({"truncated": True}, {"share": Share.PART, "id": "1"}, False),
    ({"truncated": True}, {"share": Share.PART}, True),
    ({"share": Share.PART}, {"share": Share.WHOLE}, True),
    ({"share": Share.PART}, {"share": Share.WHOLE, "truncated": True}, False),
    ({}, {"share": Share.SILENT}, True),
    ({}, {"share": Share.SILENT, "id": "1"}, False),
    ({}, {"share": Share.SILENT, "ended": "4"}, False),
    ({}, {"share": Share.GOES_ON, "goes_on_with": "2"}, True),
    ({}, {"share": Share.GOES_ON, "goes_on_with": "1"}, False),
    ({}, {"share": Share.PART, "id": "2"}, False),
]


@pytest.mark.promise("P1")
@pytest.mark.parametrize(("closing", "other", "expected"), SHARES)
def test_what_is_in_the_way(closing: dict[str, Any], other: dict[str, Any], expected: bool) -> None:
    """Parts are in the way of all that were open at the same time; whole uploads never are."""
    mine = Handle(**({"id": "2", "share": Share.WHOLE} | closing))
    assert is_in_the_way(mine, Handle(**({"id": "3"} | other))) is expected
