"""The document of the internals says what the code says."""

from __future__ import annotations

import contextlib
import itertools
import re
from pathlib import Path

import pytest

from sftpgate.drop.opening import OpenMode
from sftpgate.errors import SftpgateError, StorageError
from sftpgate.policy.checks import CHECKS
from sftpgate.policy.lifecycle import TRANSITIONS, UPLOAD_TRANSITIONS, UploadEvent, UploadState, upload_after
from sftpgate.store.disk import Disk
from sftpgate.uploads import fate
from sftpgate.uploads.terms import SessionTrace
from sftpgate.uploads.upload import Upload
from tests.harness.handover import Gate

DOCUMENT = Path(__file__).parents[2] / "docs" / "internals.md"


def table_of(heading: str) -> set[tuple[str, ...]]:
    """The rows of the table of states under a heading."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = {
        tuple(cell.strip() for cell in line.strip("|").split("|")) for line in section.splitlines() if re.match(r"\| \w", line)
    }
    return rows - {("state", "event", "next state")}


def test_arrival_table_is_the_codes() -> None:
    """Every transition of an arrival is in the document, and no other."""
    assert table_of("States of an arrival") == {(state, event, target) for (state, event), target in TRANSITIONS.items()}


# -- what uploads do ---------------------------------------------------------------------------------------------------

CHANGE = OpenMode(create=True, truncate=False, exclusive=False, append=False)


class BrokenDisk(Disk):
    """A disk that takes no bytes."""

    def write(self, fd: int, offset: int, *pieces: bytes | memoryview) -> None:
        """Fail."""
        raise StorageError("broken")


def _fail_to_write(_gate: Gate, upload: Upload) -> None:
    upload.write(BrokenDisk(), 0, b"x")


def _fail_a_condition(_gate: Gate, upload: Upload) -> None:
    def broken() -> None:
        raise StorageError("broken")

    upload.require(broken)


def _close(gate: Gate, upload: Upload) -> None:
    with contextlib.suppress(SftpgateError):
        upload.write(gate.system.disk, 0, b"changed\n")
    gate.publisher.commit([upload])


def _close_unchanged(gate: Gate, upload: Upload) -> None:
    gate.publisher.commit([upload])


def _remove(gate: Gate, upload: Upload) -> None:
    gate.acts.remove(gate.sender(), upload.path, [upload])


# All that makes an event happen to an upload, and what brings one into each state.
ACTS = (_fail_to_write, _fail_a_condition, _close, _close_unchanged, _remove)
WAYS = {
    UploadState.OPEN: None,
    UploadState.FAILED: _fail_to_write,
    UploadState.PUBLISHED: _close,
    UploadState.DISCARDED: _close_unchanged,
}


@pytest.mark.promise("P1")
def test_upload_table_is_what_uploads_do(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens to an upload, whatever is done to it in whatever state, is in the document and in the code's table; and
    nothing is there that never happens.
    """
    happened: set[tuple[str, ...]] = set()

    def seen(state: UploadState, event: UploadEvent) -> UploadState:
        target = upload_after(state, event)
        happened.add((state, event, target))
        return target

    monkeypatch.setattr(fate, "upload_after", seen)
    for number, (state, act) in enumerate(itertools.product(UploadState, ACTS)):
        gate.put(f"{number}.csv", b"a,1\n")
        upload = gate.acts.opening.open(gate.sender(), f"{number}.csv", CHANGE, SessionTrace(), [])
        for done in (WAYS[state], act):
            with contextlib.suppress(SftpgateError):
                if done is not None:
                    done(gate, upload)
            if done is not act:
                assert upload.state is state
        if upload.fd >= 0:
            gate.system.staging.discard(upload)
    assert happened == table_of("States of an upload")
    assert happened == {(state, event, target) for (state, event), target in UPLOAD_TRANSITIONS.items()}
    before, events, after = (set(column) for column in zip(*happened, strict=True))
    assert before | after == set(UploadState) and events == set(UploadEvent)


def test_checks_are_the_codes() -> None:
    """Every check is in the document, in its order, with what follows from the hold."""
    section = DOCUMENT.read_text(encoding="utf-8").split("## Why a file is held\n")[1].split("\n## ")[0]
    _, _, *rows = (line for line in section.splitlines() if line.startswith("|"))
    assert [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows] == [
        (
            check.reason,
            "the drop" if check.shown_by_disk else "held",
            "yes" if check.doubts_content else "no",
            f"after {check.report_after.seconds // 60} minutes" if check.report_after else "at once",
        )
        for check in CHECKS
    ]
