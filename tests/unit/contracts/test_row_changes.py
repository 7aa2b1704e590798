"""The rows behind a difference, against plain dictionaries; and tables that people open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.contracts import spreadsheet
from sftpgate.contracts.row_changes import NotComparable, Row, RowChanges
from sftpgate.settings.contracts import ContractSettings

CONTRACT = ContractSettings(header=("uid", "name"), key=("uid",))
HEADER = b"uid;name\n"
TABLES = st.dictionaries(st.integers(0, 30), st.sampled_from(["a", "b", "élan", "c;d", ""]), max_size=30)


def file(content: bytes) -> Callable[[], BinaryIO]:
    """What opens a file."""
    return lambda: io.BytesIO(content)


def written(table: dict[int, str]) -> bytes:
    """A table."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerows([("uid", "name"), *((f"u{number}", name) for number, name in table.items())])
    return out.getvalue().encode()


def changes(old: bytes | None, new: bytes, contract: ContractSettings = CONTRACT) -> RowChanges:
    """How two files differ."""
    return RowChanges(file(old) if old is not None else None, file(new), contract)


@given(TABLES, TABLES, st.booleans())
def test_against_dictionaries(old: dict[int, str], new: dict[int, str], has_mark: bool) -> None:
    """Rows are added, changed and removed as keys and values of dictionaries are; each is shown with its line."""
    mark = b"\xef\xbb\xbf" if has_mark else b""
    found = changes(mark + written(old), mark + written(new), CONTRACT.model_copy(update={"bom": True}))
    removed = [Row(2 + place, (f"u{key}", name)) for place, (key, name) in enumerate(old.items()) if key not in new]
    added = [Row(2 + place, (f"u{key}", name)) for place, (key, name) in enumerate(new.items()) if key not in old]
    assert (list(found.removed()), list(found.added())) == (removed, added)
    pairs = {pair.after.fields[0]: (pair.before.fields[1], pair.after.fields[1]) for pair in found.changed()}
    assert pairs == {f"u{key}": (old[key], new[key]) for key in old.keys() & new.keys() if old[key] != new[key]}
    assert len(list(found.changed(2))) == min(2, len(pairs))
    whole = found.counts.whole
    assert (whole.of, whole.added, whole.changed, whole.removed) == (len(old), len(added), len(pairs), len(removed))
    assert (found.rows, found.old_header, found.new_header) == (len(new), ("uid", "name"), ("uid", "name"))


def test_no_earlier_file() -> None:
    """If nothing was processed before, every row is added."""
    found = changes(None, HEADER + b"u1;a\nu2;b\n")
    assert [row.line for row in found.added()] == [2, 3] and not list(found.removed()) and not list(found.changed())


def test_rows_that_are_no_rows() -> None:
    """Lines behind blank lines, rows that lack fields, and fields over several lines move no line number."""
    old = HEADER + b'u1;a\nu2\n\n"u3";"b\nb"\nu4;c\n'
    contract = CONTRACT.model_copy(update={"cell_newlines": True})
    assert [(row.line, row.fields[0]) for row in changes(old, HEADER + b"u9;z\n", contract).removed()] == [
        (2, "u1"),
        (5, "u3"),
        (7, "u4"),
    ]


def test_keys_that_are_doubled() -> None:
    """Of rows with one key each is paired once: none is counted twice, and none is lost."""
    found = changes(HEADER + b"u1;a\nu1;b\nu1;c\n", HEADER + b"u1;d\nu1;b\n")
    assert [(pair.before.line, pair.after.line) for pair in found.changed()] == [(2, 2)]
    assert [row.line for row in found.removed()] == [4]


def test_a_contract_without_a_key() -> None:
    """Without a key a row that changed is one that is gone and one that is new."""
    found = changes(HEADER + b"u1;a\n", HEADER + b"u1;b\n", ContractSettings(header=("uid", "name")))
    assert [row.fields for row in found.removed()] == [("u1", "a")]
    assert [row.fields for row in found.added()] == [("u1", "b")]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (HEADER + b"u1;a\n", b"<html></html>", "the file is no table"),
        (HEADER + b"u1;a\n", HEADER + b'u1;"a\n', "the file is no table"),
        (b"\xff\xfe\x00", HEADER + b"u1;a\n", "processed last is no table"),
        (b"name;x\na;b\n", HEADER + b"u1;a\n", "column of the key"),
    ],
)
def test_what_cannot_be_compared(old: bytes, new: bytes, why: str) -> None:
    """What is no table, or lacks the key, is said to be so, and which of the two it is."""
    with pytest.raises(NotComparable, match=why):
        changes(old, new)


@pytest.mark.parametrize(
    ("value", "is_harmless"),
    [
        *[(f"{begin}HYPERLINK(1)", False) for begin in "=+-@\t\r＝＋－＠|%"],
        (" =1+1", False),
        ("-2+3+cmd|' /C calc'!A0", False),
        ("-12", True),
        ("+12,5", True),
        ("12%", True),
        ("-", False),
        ("élève", True),
        ("a=b", True),
        ("", True),
    ],
)
def test_a_cell_of_a_spreadsheet(value: str, is_harmless: bool) -> None:
    """What a spreadsheet would execute gets an apostrophe in front; numbers and other texts stay as they are."""
    assert spreadsheet.harmless(value) == (value if is_harmless else f"'{value}")


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2)))
def test_a_table_for_a_spreadsheet(rows: list[list[str]]) -> None:
    """Whatever is in a table, it can be read back, and no cell begins as a formula does."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=spreadsheet.ENCODING, newline="")
    assert spreadsheet.write(out, ["=a", "b"], rows, delimiter=";") == len(rows)
    out.flush()
    assert raw.getvalue().startswith(b'\xef\xbb\xbf"\'=a";"b"\r\n')
    header, *found = csv.reader(io.StringIO(raw.getvalue().decode("utf-8-sig"), newline=""), delimiter=";")
    assert header == ["'=a", "b"]
    assert [
        [cell.removeprefix("'") if cell != want else cell for cell, want in zip(*pair, strict=True)]
        for pair in zip(found, rows, strict=True)
    ] == rows
    for cell in (cell for row in found for cell in row):
        assert not cell.startswith(("=", "@", "\t", "\r")) and spreadsheet.harmless(cell) == cell
