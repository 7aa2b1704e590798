"""The file that undoes what another one did: commands by templates, or a snapshot with the rows put back."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sftpgate.contracts.row_changes import NotComparable
from sftpgate.contracts.undo import Inverse, inverse
from sftpgate.settings.contracts import ContractSettings
from tests.unit.contracts.test_row_changes import file

TERMS: dict[str, Any] = {"header": ["cmd", "cid", "uid"], "key": ["cid", "uid"]}
UNDO = {"removed": "add;{cid};{uid}", "added": "del;{cid};{uid}", "changed": ["del;{cid};{uid}", "{cmd};{cid};{uid}"]}
COMMANDS = ContractSettings.model_validate(TERMS | {"undo": UNDO})
SNAPSHOT = ContractSettings.model_validate(TERMS)
HEADER = "cmd;cid;uid\n"
TABLES = st.dictionaries(
    st.tuples(st.sampled_from(["C1", "C;2"]), st.sampled_from(["u1", "u2", "u3", "ü4"])), st.sampled_from(["add", "upd", "see"])
)
Table = dict[tuple[str, str], str]


def written(table: Table) -> bytes:
    """A table."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerows([("cmd", "cid", "uid"), *((command, *key) for key, command in table.items())])
    return out.getvalue().encode()


def read(content: bytes) -> list[list[str]]:
    """The rows of a table, without its header."""
    rows = list(csv.reader(io.StringIO(content.decode()), delimiter=";"))
    assert rows[0] == ["cmd", "cid", "uid"]
    return rows[1:]


def undone(before: Table, after: Table, latest: Table | None, contract: ContractSettings) -> Inverse:
    """What undoes ``after``."""
    return inverse(file(written(before)), file(written(after)), None if latest is None else file(written(latest)), contract)


@given(TABLES, TABLES)
def test_the_last_run(before: Table, after: Table) -> None:
    """What the last file did is undone whole: the snapshot is the file before it, and commands lead back to that."""
    made = undone(before, after, None, SNAPSHOT)
    assert (made.content, made.left, made.is_commands) == (written(before), 0, False)
    made = undone(before, after, None, COMMANDS)
    state = dict(after)
    for command, course, user in read(made.content):
        if command == "del":
            del state[course, user]
        else:
            assert (course, user) not in state
            state[course, user] = command
    assert made.is_commands and made.left == 0
    assert state == {key: command if key in after else "add" for key, command in before.items()}


@given(TABLES, TABLES, TABLES)
def test_an_earlier_run(before: Table, after: Table, latest: Table) -> None:
    """What a later file has touched since stays as that left it; everything else is put back."""
    touched = {key for key in after.keys() | latest.keys() if after.get(key) != latest.get(key)}
    expected = {}
    for key in before.keys() | after.keys() | latest.keys():
        value = latest.get(key) if key in touched or before.get(key) == after.get(key) else before.get(key)
        if value is not None:
            expected[key] = value
    made = undone(before, after, latest, SNAPSHOT)
    assert {(course, user): command for command, course, user in read(made.content)} == expected
    assert len(read(made.content)) == len(expected) == made.rows
    left = [key for key in touched if before.get(key) != after.get(key)]
    commands = undone(before, after, latest, COMMANDS)
    assert commands.left == len(left)
    assert not {(row[1], row[2]) for row in read(commands.content)} & touched


def test_kinds_without_a_template() -> None:
    """Rows of which no template speaks are left as they are, and counted."""
    contract = ContractSettings.model_validate(TERMS | {"undo": {"removed": "add;{cid};{uid}"}})
    made = undone({("C1", "u1"): "add"}, {("C1", "u2"): "add", ("C1", "u3"): "add"}, None, contract)
    assert (made.content.decode(), made.rows, made.left) == (f"{HEADER}add;C1;u1\n", 1, 2)


@pytest.mark.parametrize(
    ("terms", "before", "why"),
    [
        ({"trailer": "END"}, b"", "trailer"),
        ({"format": "gzip"}, b"", "packed"),
        ({"key": []}, b"", "without a key"),
        ({}, None, "nothing was processed before it"),
        ({"quotes": False, "undo": {"removed": "add;{uid};x"}}, HEADER.encode() + b"add;C1;u1\n", ""),
    ],
)
def test_what_cannot_be_undone(terms: dict[str, Any], before: bytes | None, why: str) -> None:
    """What cannot be undone by a file is said to be so; what can, is."""
    contract = ContractSettings.model_validate(TERMS | terms)
    opened = file(before) if before is not None else None
    if not why:
        assert inverse(opened, file(HEADER.encode() + b"add;C1;u2\n"), None, contract).rows == 1
        return
    with pytest.raises(NotComparable, match=why):
        inverse(opened, file(HEADER.encode() + b"add;C1;u2\n"), None, contract)


@pytest.mark.parametrize(
    ("undo", "why"),
    [
        ({"removed": "add;{course};{uid}"}, "undo.removed: there is no column course"),
        ({"added": "del;{uid}"}, "undo.added: del;{uid} has 2 fields, and header has 3"),
        ({"deleted": "x"}, "deleted"),
    ],
)
def test_templates_that_cannot_be_meant(undo: dict[str, str], why: str) -> None:
    """A template with a column that is not there, or another number of fields than the header, is an error of the settings."""
    with pytest.raises(ValidationError, match=why):
        ContractSettings.model_validate(TERMS | {"undo": undo})
