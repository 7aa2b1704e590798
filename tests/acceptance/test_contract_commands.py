"""``sftpgate contract``: a file against what a tool's file has to be, the archives against it, and one learnt from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.run_commands import Gate

HEADER = "cmd;cid;uid\n"
CONTRACT = 'contract.header = ["cmd", "cid", "uid"]\ncontract.key = ["cid", "uid"]\ncontract.max_removed = "10%"\n'


def table(count: int) -> bytes:
    """A file with so many rows."""
    return (HEADER + "".join(f"add;C{number % 3};u{number:04d}\n" for number in range(count))).encode()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate whose tool has a contract, and has processed two files."""
    gate = Gate(tmp_path)
    gate.enrols("true", CONTRACT)
    for count in (100, 102):
        gate.world.send("enrols.csv", table(count))
        assert gate("run", "--all")[0] == 0
    yield gate
    gate.world.close()


def test_check(gate: Gate, tmp_path: Path) -> None:
    """A good file is said to be one; of a bad one each objection is said with what to do, and the exit code is 6."""
    file = tmp_path / "export.csv"
    file.write_bytes(table(101))
    code, output, _ = gate("contract", "check", "enrols", str(file))
    assert code == 0 and "101 rows" in output
    assert output.endswith("against 102 rows: 0 added, 0 changed, 1 removed\nnothing is wrong with it\n")
    file.write_bytes(table(50) + b";;\n")
    code, output, _ = gate("contract", "check", "enrols", str(file))
    assert code == 6
    assert "table.empty_row: line 52: The row has delimiters and nothing between them" in output
    assert "amounts.removed: 52 of 102 rows of the last processed file are gone; 10% may be." in output
    code, output, _ = gate("contract", "check", "enrols", str(file), "--json")
    found = json.loads(output)
    assert [each["code"] for each in found["objections"]] == ["table.empty_row", "amounts.removed"]
    assert "ont disparu" in found["objections"][1]["fr"] and found["removed"] == 52
    other = tmp_path / "other.csv"
    other.write_bytes(table(50))
    assert "amounts.removed" not in gate("contract", "check", "enrols", str(file), "--against", str(other))[1]


def test_what_cannot_be_checked(gate: Gate, tmp_path: Path) -> None:
    """A tool that is not there, one without a contract and a file that cannot be read are said to be so."""
    code, _, errors = gate("contract", "check", "nobody", str(tmp_path / "x.csv"))
    assert code == 5 and "there is no tool nobody" in errors
    code, _, errors = gate("contract", "check", "enrols", str(tmp_path / "x.csv"))
    assert code == 5 and "x.csv: there is no such file" in errors
    gate.enrols("true")
    code, _, errors = gate("contract", "check", "enrols", str(tmp_path / "x.csv"))
    assert code == 78 and "tools.enrols has no contract: `sftpgate contract learn enrols` proposes one" in errors


def test_backtest(gate: Gate) -> None:
    """The files in the archives are replayed in their order, each against the one before it."""
    gate.world.send("enrols.csv", table(60))
    assert gate("run", "--all")[0] == 0  # nothing holds it
    code, output, _ = gate("contract", "backtest", "enrols")
    assert code == 0 and output.endswith("would have held 1 of 3\n")
    assert "amounts.removed: 42 of 102 rows of the last processed file are gone; 10% may be." in output
    found = json.loads(gate("contract", "backtest", "enrols", "--json")[1])
    assert [(row["rows"], row["good"]) for row in found] == [(100, True), (102, True), (60, False)]


def test_learn(gate: Gate) -> None:
    """What is learnt from the archives is a table that the settings take, and by which the archives are good."""
    code, output, _ = gate("contract", "learn", "enrols")
    assert code == 0
    assert 'header = ["cmd", "cid", "uid"]' in output and 'delimiter = ";"' in output and 'key = ["uid"]' in output
    lines = output.replace("[tools.enrols.contract]\n", "").splitlines()
    learnt = "".join(f"contract.{line}\n" for line in lines if not line.startswith("#"))
    gate.enrols("true", learnt)
    assert gate("contract", "backtest", "enrols")[1] == "would have held 0 of 2\n"
    gate.enrols("true")
    assert gate("contract", "learn", "enrols")[0] == 0
    code, _, errors = gate("contract", "learn", "nobody")
    assert code == 5 and "there is no tool nobody" in errors


@pytest.mark.parametrize(
    ("contract", "problem"),
    [
        ('contract.header = ["a", "a"]', "a is named twice"),
        ('contract.max_removed = "110%"', "110% is more than everything"),
        ('contract.header = ["a"]\ncontract.max_removed = "10%"', "max_removed needs key"),
        ('contract.header = ["a"]\ncontract.key = ["b"]', "there is no column b"),
        (
            'contract.header = ["a"]\ncontract.key = ["a"]\ncontract.kind = "delta"\ncontract.max_removed = 1',
            "says nothing of a delta",
        ),
        ('contract.encoding = "klingon"', "no encoding of texts is called so"),
        ("contract.min_rows = 5\ncontract.max_rows = 4", "max_rows is less than min_rows"),
        ('contract.hedaer = ["a"]', "unknown key tools.enrols.contract.hedaer; did you mean header?"),
        ('contract.key = ["a", "a"]\ncontract.header = ["a"]', "contract.key: a is named twice"),
        ('contract.header = ["a "]', "neither begins nor ends with a blank"),
        (
            'contract.header = ["a"]\ncontract.key = ["a"]\ncontract.max_added = -1',
            "max_added: a number of rows is 0",
        ),
        ('contract.header = ["a"]\ncontract.key = ["a"]\ncontract.max_changed = "many"', "contract.max_changed: write a share"),
        ("contract.exact = true", "exact needs header"),
        ('contract.header = ["a"]\ncontract.optional = ["a"]', "a is in header already"),
        ('contract.header = ["a;b"]\ncontract.quotes = false', "has the delimiter in it"),
        ('contract.header = ["abcdef"]\ncontract.max_line_bytes = 5', "max_line_bytes is less than the 6 bytes of the header"),
        ('contract.repeat = "hold"\ncontract.max_repeat_days = 3', "max_repeat_days goes with repeat"),
        ('contract.bom = true\ncontract.encoding = "cp1252"', "bom goes with encoding utf-8"),
        ('contract.format = "text"\ncontract.trailer = "x"', "trailer goes with a table"),
        ("contract.refused_starts = '\"'", "to refuse those, set quotes to false"),
        ('contract.mode = "shout"', "contract.mode"),
        ('contract.trailer = "("', "is no regular expression"),
    ],
)
def test_a_contract_that_contradicts_itself(gate: Gate, contract: str, problem: str) -> None:
    """A contract that cannot be meant is an error of the settings, which names the key."""
    gate.enrols("true", contract)
    code, _, errors = gate("status")
    assert code == 78 and "tools.enrols.contract" in errors and problem in errors, errors
    assert len(errors.splitlines()) == 1
