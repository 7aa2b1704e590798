"""Handles that are opened with APPEND, and handles that go on with what is there."""

from __future__ import annotations

import os
from typing import Any

import pytest

from sftpgate.errors import AppendRefused, SftpgateError, UploadFailed
from sftpgate.intake.edits import OpenMode
from sftpgate.intake.uploads import SessionTrace, Upload
from sftpgate.ledger.arrivals import Arrival
from tests.unit.intake.conftest import Gate

OLD = b"0123456789\n"


def append(gate: Gate, path: str = "x.csv", *, uploads: tuple[Upload, ...] = (), **mode: Any) -> Upload:
    """An open upload that continues what is there."""
    how = OpenMode(**({"create": True, "truncate": False, "exclusive": False, "append": True} | mode))
    return gate.edits.open_for_writing(gate.sender(), path, how, SessionTrace(), uploads)


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
    """P1: whichever way a client counts, what it appends is at the end, in its order, and nothing else has changed."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    order = sorted(offsets)
    for number, offset in enumerate(offsets):
        piece = number if offset == 0 else order.index(offset)
        upload.write(gate.system.disk, offset, b"%d%d%d" % (piece, piece, piece))
    close(gate, upload)
    assert gate.read("x.csv") == OLD + b"000111222"


def test_nothing_that_is_there_is_changed(gate: Gate) -> None:
    """P3: a write with APPEND that would change earlier bytes is refused by the rule, and nothing of the upload is taken."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    with pytest.raises(AppendRefused, match="goes to the end"):
        upload.write(gate.system.disk, 5, b"other bytes\n")
    with pytest.raises(UploadFailed, match="goes to the end"):
        close(gate, upload)
    assert gate.read("x.csv") == OLD


def test_a_resume_that_begins_a_little_earlier(gate: Gate) -> None:
    """P1: true offsets may begin before the end, where they bring the bytes that are there."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    upload.write(gate.system.disk, 5, b"56789\nmore\n")
    upload.write(gate.system.disk, 5, b"56789\nmore\n")
    close(gate, upload)
    assert gate.read("x.csv") == OLD + b"more\n"


def test_an_append_that_leaves_a_gap(gate: Gate) -> None:
    """P1: true offsets that leave a gap make an upload that is incomplete."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    upload.write(gate.system.disk, 20, b"later\n")
    with pytest.raises(SftpgateError, match="from 11 to 20"):
        close(gate, upload)
    assert gate.read("x.csv") == OLD


def test_an_append_after_a_cut(gate: Gate) -> None:
    """P1: what is counted from 0 goes to the end of the file as it is after its size was set on the handle."""
    gate.put("x.csv", OLD)
    upload = append(gate)
    upload.truncate(gate.system.disk, 5)
    upload.write(gate.system.disk, 0, b"56")
    upload.write(gate.system.disk, 2, b"\n")
    assert content(upload) == b"0123456\n"
    gate.system.staging.discard(upload)


def test_an_append_to_an_upload_that_is_under_way(gate: Gate) -> None:
    """P1: what counts from 0 is not put behind half of a file that another session is still sending; a resume is."""
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
