"""The document of the internals says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from sftpgate.policy.lifecycle import TRANSITIONS, UPLOAD_TRANSITIONS

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


def test_upload_table_is_the_codes() -> None:
    """Every transition of an upload is in the document, and no other."""
    assert table_of("States of an upload") == {(state, event, target) for (state, event), target in UPLOAD_TRANSITIONS.items()}
