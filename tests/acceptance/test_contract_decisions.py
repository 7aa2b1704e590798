"""``sftpgate diff``, ``approve`` and ``reject``: what a held file would do, and what people decide about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.run_commands import Gate

HEADER = "cmd;cid;uid\n"
TERMS: dict[str, object] = {"header": ["cmd", "cid", "uid"], "key": ["cid", "uid"], "group": "cid", "max_removed": "10%"}
CONTRACT = """contract.header = ["cmd", "cid", "uid"]
contract.key = ["cid", "uid"]
contract.group = "cid"
contract.max_removed = "10%"
"""


def table(*numbers: int, role: str = "add") -> bytes:
    """A file with a row for each number."""
    return (HEADER + "".join(f"{role};C{number % 3};u{number:04d}\n" for number in numbers)).encode()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate whose tool has a contract, and has processed a file of 30 rows."""
    gate = Gate(tmp_path)
    gate.enrols("cp $1 .", CONTRACT)
    gate.world.close()
    gate.world.system = gate.world.open(
        enrols={"file": "enrols.csv", "command": ["true"], "arrivals": "queue", "contract": TERMS}
    )
    gate.world.send("enrols.csv", table(*range(30)))
    assert gate("sweep")[0] == 0
    assert gate("run", "--all")[0] == 0
    yield gate
    gate.world.close()


def held(gate: Gate, content: bytes) -> str:
    """A file that the contract holds; the id of its arrival."""
    arrival = gate.world.send("enrols.csv", content)
    assert gate("sweep")[0] == 0
    row = json.loads(gate("show", arrival.id, "--json")[1])
    assert (row["state"], row["hold_reason"]) == ("held", "not as agreed")
    return arrival.id


def test_diff(gate: Gate, tmp_path: Path) -> None:
    """What a held file would do is shown as counts, for each group, and as rows, and written for a spreadsheet."""
    content = table(*range(6, 30)).replace(b"add;C0;u0009", b"del;C0;u0009") + b"add;C1;=HYPERLINK(9)\n"
    arrival = held(gate, content)
    code, output, _ = gate("diff", arrival[:20], "--rows", "2")
    assert code == 0, output
    lines = output.splitlines()
    assert lines[0].startswith(f"enrols.csv (arrival {arrival}), 25 rows, against enrols.csv (arrival ")
    assert lines[1:] == [
        "30 rows before: 1 added, 1 changed, 6 removed",
        "  C0: 10 rows before: 0 added, 1 changed, 2 removed",
        "  C1: 10 rows before: 1 added, 0 changed, 2 removed",
        "  C2: 10 rows before: 0 added, 0 changed, 2 removed",
        "removed, the first 2 of 6:",
        "  line 2: add | C0 | u0000",
        "  line 3: add | C1 | u0001",
        "changed:",
        "  line 5: del | C0 | u0009",
        "    was line 11: add | C0 | u0009",
        "added:",
        "  line 26: add | C1 | =HYPERLINK(9)",
    ]
    found = json.loads(gate("diff", arrival, "--json", "--removed-csv", str(tmp_path / "gone.csv"))[1])
    assert (found["added"], found["changed"], found["removed"], found["rows"]) == (1, 1, 6, 25)
    assert found["removed_rows"][0] == {"line": 2, "row": {"cmd": "add", "cid": "C0", "uid": "u0000"}}
    assert found["groups"][1] == {"group": "C1", "rows_before": 10, "added": 1, "changed": 0, "removed": 2}
    gone = (tmp_path / "gone.csv").read_bytes()
    assert gone.startswith(b'\xef\xbb\xbf"cmd";"cid";"uid"\r\n"add";"C0";"u0000"\r\n') and gone.count(b"\r\n") == 7
    code, _, errors = gate("diff", arrival, "--removed-csv", str(tmp_path / "gone.csv"))
    assert code == 6 and "is there already: name a new file" in errors
    other = tmp_path / "other.csv"
    other.write_bytes(content)
    assert "\n25 rows before: 0 added, 0 changed, 0 removed\n" in gate("diff", arrival, "--against", str(other))[1]


def test_what_has_no_difference(gate: Gate) -> None:
    """An arrival that is not there, one of no tool, and a file that is no table are said to be so."""
    code, _, errors = gate("diff", "01NOBODY")
    assert code == 5 and "01NOBODY" in errors
    code, _, errors = gate("diff", gate.world.send("other.csv", b"a\n").id)
    assert code == 6 and "no tool of the settings takes other.csv" in errors
    code, _, errors = gate("diff", held(gate, b"<!doctype html><html></html>"))
    assert code == 6 and "the file is no table by the contract of its tool" in errors


@pytest.mark.promise("P8")
def test_approve(gate: Gate) -> None:
    """An approved file is run; who approved it and why is in ``show`` and on the audit record; the next one is held again."""
    arrival = held(gate, table(*range(10, 30)))
    code, _, errors = gate("approve", arrival)
    assert code == 2 and "--reason" in errors
    code, _, errors = gate("release", arrival)
    assert code == 6 and f"sftpgate approve {arrival} --reason" in errors
    code, output, _ = gate("approve", arrival, "--reason", "10 have left")
    assert code == 0 and output.startswith(f"enrols.csv is waiting (arrival {arrival})\nthe approval ends at ")
    code, _, errors = gate("approve", arrival, "--reason", "10 have left")
    assert code == 6 and "is waiting: only a file that the contract of its tool holds can be approved" in errors
    assert "10 have left" in gate("show", arrival)[1]
    assert gate("run", "--all")[0] == 0
    known = json.loads(gate("show", arrival, "--json")[1])
    assert known["state"] == "done" and known["approvals"][0]["reason"] == "10 have left"
    [event] = [each for each in known["events"] if each["event"] == "arrival.approved"]
    assert event["actor"].startswith("cli:") and event["details"]["sha256"] == known["sha256"]
    held(gate, table(*range(20, 30)))


def test_four_eyes(gate: Gate) -> None:
    """Where two people are wanted, one is not enough, and says so."""
    gate.enrols("cp $1 .", f"{CONTRACT}contract.four_eyes = true\n")
    arrival = held(gate, table(*range(10, 30)))
    code, output, _ = gate("approve", arrival, "--reason", "10 have left")
    assert code == 0 and "is approved by 1 of 2 people, and is held until the other does so" in output
    code, _, errors = gate("approve", arrival, "--reason", "10 have left")
    assert code == 6 and "two different people" in errors
    assert gate("run", "--all")[0] == 3


@pytest.mark.promise("P3", "P8")
def test_reject(gate: Gate) -> None:
    """A rejected file is archived, and its sender reads why."""
    arrival = held(gate, table(*range(10, 30)))
    code, output, _ = gate("reject", arrival, "--reason", "ten are missing", "--json")
    row = json.loads(output)
    assert code == 0 and row["state"] == "rejected"
    store = gate.directory / "data/store"
    assert (store / "archives" / row["archived_as"]).read_bytes() == table(*range(10, 30))
    assert any("They say: ten are missing" in file.read_text() for file in (store / "reports").iterdir())
    code, _, errors = gate("approve", arrival, "--reason", "no")
    assert code == 6 and "is rejected: only a file" in errors
    assert gate("verify", "--content")[0] == 0


@pytest.mark.promise("P1")
def test_undo(gate: Gate) -> None:
    """What a file did is undone by another one: printed first, then made, held, approved, and run."""
    first = table(*range(30))
    arrival = held(gate, table(*range(10, 30)))
    assert gate("approve", arrival, "--reason", "10 have left")[0] == 0
    code, _, errors = gate("undo", arrival)
    assert code == 6 and "only what a tool has processed can be undone" in errors
    assert gate("run", "--all")[0] == 0
    code, output, _ = gate("undo", arrival, "--print")
    assert code == 0 and output.encode() == first
    made = json.loads(gate("undo", arrival, "--json")[1])
    assert (made["state"], made["hold_reason"], made["undoes"], made["rows"]) == ("held", "awaiting approval", arrival, 30)
    gate("sweep")
    assert gate("run", "--all")[0] == 3
    assert "rows undoes" not in gate("undo", arrival)[1]
    assert gate("approve", made["id"], "--reason", "they are back")[0] == 0
    assert gate("run", "--all")[0] == 0
    assert json.loads(gate("show", made["id"], "--json")[1])["state"] == "done"
    assert gate("verify", "--content")[0] == 0
