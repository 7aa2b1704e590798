"""Which of two uploads of one name is the later one: by their sequence, whatever the clock does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sftpgate.drop.opening import OpenMode
from sftpgate.ledger.arrivals import Arrival
from sftpgate.uploads.open_uploads import OpenUploads
from sftpgate.uploads.terms import SessionTrace
from sftpgate.uploads.upload import Upload
from tests.harness.handover import Gate

RESUME = OpenMode(create=True, truncate=False, exclusive=False, append=True)
BACK = [timedelta(), timedelta(hours=-1), timedelta(days=-400)]


def seen(gate: Gate, path: str = "x.csv") -> bytes | None:
    """What the sender finds at a path."""
    item = gate.acts._sender_view.lookup("erp", path)
    return None if item is None else item.disk_path.local.read_bytes()[: item.size]


def close(gate: Gate, upload: Upload) -> None:
    """CLOSE."""
    [outcome] = gate.publisher.commit([upload])
    assert isinstance(outcome, Arrival), outcome


@pytest.mark.promise("P1")
@pytest.mark.parametrize("back", BACK)
def test_a_later_upload_that_breaks_off_beside_an_earlier_one(gate: Gate, back: timedelta) -> None:
    """What was opened later and broke off is not removed by an earlier one's CLOSE, and its resume makes it whole."""
    first = gate.upload("x.csv", b"first\n" * 10)
    gate.clock.ahead += back
    later = gate.upload("x.csv", b"later\n" * 5)
    gate.system.staging.interrupt(later)
    close(gate, first)
    assert gate.read("x.csv") == b"first\n" * 10 and seen(gate) == b"later\n" * 5
    resumed = gate.acts.opening.open(gate.sender(), "x.csv", RESUME, SessionTrace(), [])
    resumed.write(gate.system.disk, 30, b"later\n" * 20)
    close(gate, resumed)
    assert gate.read("x.csv") == b"later\n" * 25


@pytest.mark.promise("P1")
@pytest.mark.parametrize("back", BACK)
def test_an_upload_that_breaks_off_after_a_finished_one(gate: Gate, back: timedelta) -> None:
    """It is what its sender sees and resumes, also where the clock was set back in between."""
    gate.put("x.csv", b"first\n" * 10)
    gate.clock.ahead += back
    gate.system.staging.interrupt(gate.upload("x.csv", b"later\n" * 5))
    assert seen(gate) == b"later\n" * 5


@pytest.mark.promise("P1")
@pytest.mark.parametrize("back", BACK)
def test_an_earlier_upload_that_breaks_off_after_a_later_one(gate: Gate, back: timedelta) -> None:
    """It does not come back, in the process that had both, or in another one."""
    first = gate.upload("x.csv", b"first\n" * 10)
    gate.clock.ahead += back
    later = gate.upload("x.csv", b"later\n")
    close(gate, later)
    gate.system.staging.interrupt(first)
    assert seen(gate) == b"later\n"


@pytest.mark.promise("P1")
@pytest.mark.parametrize("back", BACK)
def test_after_a_restart(tmp_path: Path, back: timedelta) -> None:
    """The order holds over a restart, and where the file of the sequence was lost."""
    for lose in (False, True):
        gate = Gate(tmp_path / str(lose))
        gate.put("x.csv", b"first\n")
        gate.system.close()
        if lose:
            (gate.store / ".sftpgate/sequence").unlink()
        again = Gate(tmp_path / str(lose))
        again.clock.ahead = back
        again.system.staging.interrupt(again.upload("x.csv", b"later"))
        assert seen(again) == b"later"
        again.system.close()


@pytest.mark.promise("P1")
def test_what_a_published_upload_supersedes(gate: Gate) -> None:
    """Those of its path that were opened before it, whatever the clock said, and no later one."""
    open_uploads = OpenUploads(gate.system.staging)
    uploads = []
    for _ in range(3):
        gate.clock.ahead -= timedelta(hours=1)
        uploads.append(gate.upload("x.csv", b"x"))
        open_uploads.add(uploads[-1])
    open_uploads.supersede(uploads[1])
    assert [upload.fate.is_superseded for upload in uploads] == [True, False, False]
    for upload in uploads:
        gate.system.staging.discard(upload)


@pytest.mark.promise("P5")
def test_two_notes_of_one_upload(gate: Gate) -> None:
    """Of two notes that a crash left the one that was written later holds, also where the clock was set back."""
    upload = gate.upload("a.tmp", b"half")
    gate.system.staging.interrupt(upload)
    before = upload.disk_path.parent.local / upload.note.name
    content = before.read_bytes()
    gate.clock.ahead = timedelta(hours=-2)
    gate.acts.rename(gate.sender(), "a.tmp", "b.tmp", replacing=False, uploads=[])
    before.write_bytes(content)
    assert [partial.path for partial in gate.system.staging.partials("erp")] == ["b.tmp"]
