"""What the commands print, for a pipe, for a script and for a terminal."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sftpgate.cli.output import emit, emit_record, shown

NOON = datetime(2026, 3, 1, 13, 0, 5, 250_000, tzinfo=timezone(timedelta(hours=1)))


class Colour(StrEnum):
    """Some enumeration."""

    RED = "red"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def _printed(rows: list[dict[str, object]], *columns: str, as_json: bool = False, out: io.StringIO | None = None) -> str:
    stream = out or io.StringIO()
    emit(rows, columns, json=as_json, out=stream)
    return stream.getvalue()


def test_a_pipe_gets_aligned_text() -> None:
    """Without a terminal a listing is a heading and one aligned line per row, numbers to the right."""
    rows: list[dict[str, object]] = [{"name": "a.csv", "size_bytes": 5}, {"name": "longer.csv", "size_bytes": 12345}]
    assert _printed(rows, "name", "size_bytes").splitlines() == [
        "name        size bytes",
        "a.csv                5",
        "longer.csv       12345",
    ]


def test_an_empty_listing_is_empty() -> None:
    """Nothing to list is no line in a pipe, an empty list in JSON, and a word on a terminal."""
    assert _printed([], "name") == ""
    assert json.loads(_printed([], "name", as_json=True)) == []
    assert "nothing" in _printed([], "name", out=Terminal())


def test_json_has_every_field_and_utc_times() -> None:
    """JSON carries all keys of a row, whatever the columns, and times in UTC with a Z."""
    rows: list[dict[str, object]] = [{"at": NOON, "colour": Colour.RED, "path": Path("/a"), "keys": ("x", "y"), "none": None}]
    assert json.loads(_printed(rows, "at", as_json=True)) == [
        {"at": "2026-03-01T12:00:05.250Z", "colour": "red", "path": "/a", "keys": ["x", "y"], "none": None}
    ]


def test_a_record_is_a_line_per_field() -> None:
    """One thing is printed as headed lines."""
    out = io.StringIO()
    emit_record({"id": "01J", "received_at": NOON.astimezone(UTC)}, out=out)
    assert out.getvalue() == "id           01J\nreceived at  2026-03-01 12:00:05Z\n"


def test_markup_in_a_name_is_text() -> None:
    """A terminal table shows a name with rich's markup in it as it is."""
    assert "[red]x[/red]" in _printed([{"name": "[red]x[/red]"}], "name", out=Terminal())


@given(st.text(st.characters(blacklist_categories=()), max_size=40))
def test_no_name_can_paint_the_terminal(name: str) -> None:
    """No control character of a client's name reaches the output, and none makes it fail."""
    assert "\x1b" not in _printed([{"name": name}], "name")
    assert _printed([{"name": name}], "name", out=Terminal()).count("\x1b") <= 2, "more than the heading's bold on and off"
    assert len(shown(name).splitlines()) <= 1
    assert json.loads(_printed([{"name": name}], "name", as_json=True)) == [{"name": name}]
