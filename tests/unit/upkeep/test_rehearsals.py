"""Rehearsals: what is put into their folder is judged and reported, and is never handed over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from sftpgate.app.composition import make_verdict_reports
from sftpgate.app.runs.claims import make_claims
from sftpgate.contracts.objections import Objection
from sftpgate.errors import Refused, SettingsError, ShuttingDown
from sftpgate.handover.guard import Guard
from sftpgate.ledger import reports, runs, verdicts
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database import schema
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.rehearsals import RehearsalRules
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.settings.tree import Settings
from sftpgate.upkeep.rehearsals import OldRehearsals
from sftpgate.upkeep.verdict_reports import VerdictReports
from tests.harness.handover import JUDGES, Gate

HEADER = b"uid;name\n"
CONTRACT: dict[str, Any] = {"header": ["uid", "name"], "key": ["uid"], "group": "name", "max_removed": "40%"}
TOOLS: dict[str, Any] = {
    "people": {"file": ["people.csv", "home/people.csv"], "command": ["true"], "contract": CONTRACT},
    "plain": {"file": "plain.csv", "command": ["true"]},
}


def rows(count: int, name: str = "a") -> bytes:
    """A table."""
    return HEADER + b"".join(f"u{number:03d};{name}\n".encode() for number in range(count))


@pytest.fixture
def gate(make_gate: Any) -> Gate:
    """A gate with a tool that has a contract, and has processed ten rows."""
    made: Gate = make_gate(tools=TOOLS)
    made.acts.make_home("")
    made.put("people.csv", rows(10))
    Guard(made.system.resources, made.system.journal, made.system.placer, JUDGES).judge_held()
    claims = make_claims(made.system)
    claim = claims.take("people")
    assert claim is not None
    claims.end(claim, ClaimEnd(outcome=RunOutcome.DONE))
    return made


@pytest.fixture
def writer(gate: Gate) -> Iterator[VerdictReports]:
    """What writes the reports."""
    guard = Guard(gate.system.resources, gate.system.journal, gate.system.placer)
    made = make_verdict_reports(gate.system, guard)
    assert made is not None
    yield made
    guard.stop()


def report_of(gate: Gate, arrival: Arrival) -> str:
    """The one report about a file, as its owner reads it."""
    with gate.system.ledger.reading() as connection:
        [name] = reports.of_arrival(connection, arrival.id)
        assert reports.owner_of(connection, name) == arrival.owner
    return (gate.store / "reports" / name).read_text()


@pytest.mark.promise("P1", "P8")
def test_a_rehearsal(gate: Gate, writer: VerdictReports) -> None:
    """A file of the folder gets a report with the verdict and the difference; it is in no runner's hands, and no history."""
    bad = gate.put("check/people.csv", rows(5) + b";;\n")
    assert writer.write_new() == 1
    text = report_of(gate, bad)
    assert "tool: people\noutcome: rehearsal: the file would be held\nrows: 6\n" in text
    assert "what is wrong: line 7: The row has 3 fields, the header 2: ;;" in text
    assert "what is wrong: 5 of 10 rows of the last processed file are gone; 40% may be." in text
    assert "difference: of 10 rows of the last processed file 5 are gone and 0 changed; 0 are new\n" in text
    assert "difference: a: of 10 rows" in text and "In earnest, send it to people.csv." in text
    assert bad.state is ArrivalState.IGNORED and gate.read("people.csv") is None and gate.read("check/people.csv") is None
    assert make_claims(gate.system).take("people") is None
    gate.sweeper.run()
    assert writer.write_new() == 0 and gate.now(bad).state is ArrivalState.IGNORED
    with gate.system.ledger.reading() as connection:
        assert len(runs.processed_by(connection, "people", 9)) == 1
    good = gate.put("check/people.csv", rows(9))
    assert writer.write_new() == 1
    assert "outcome: rehearsal: nothing is wrong with the file\n" in report_of(gate, good)
    assert gate.now(bad).state is ArrivalState.REPLACED


FILES = {
    "good": rows(9),
    "grown": rows(12),
    "half": rows(5),
    "no header": b"u1;a\n",
    "empty": b"",
    "page": b"<!doctype html><title>Error 500</title>",
    "cp1252": HEADER + "u1;Zoé\n".encode("cp1252"),
    "open quote": rows(3) + b'u9;"x\n',
    "doubled": rows(9) + rows(1)[len(HEADER) :],
    "the same again": rows(10),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_same_verdict(gate: Gate, writer: VerdictReports, kind: str) -> None:
    """A rehearsal has the verdict that the same file has when it is sent in earnest, each made for itself."""

    def verdict_of(arrival: Arrival) -> tuple[Objection, ...]:
        with gate.system.ledger.transaction() as connection:
            found = verdicts.latest(connection, arrival.sha256)
            connection.execute(delete(schema.verdicts))
        return found

    rehearsal = gate.put("check/people.csv", FILES[kind])
    assert writer.write_new() == 1
    tried = verdict_of(rehearsal)
    text = report_of(gate, rehearsal)
    in_earnest = gate.put("people.csv", FILES[kind])
    if kind == "open quote":  # breaks off: it would be held for that first, and what else is wrong is said as well
        assert gate.now(in_earnest).hold_reason is HoldReason.INCOMPLETE and "The upload looks interrupted: " in text
        in_earnest = gate.put("people.csv", FILES[kind])  # the same once more is believed
    assert gate.now(in_earnest).hold_reason is HoldReason.UNCHECKED
    assert Guard(gate.system.resources, gate.system.journal, gate.system.placer, JUDGES).judge_held() == 1
    assert gate.now(in_earnest).state is (ArrivalState.HELD if tried else ArrivalState.WAITING)
    assert verdict_of(in_earnest) == tried
    assert all(each.sentence() in text for each in tried) and ("would be held" in text) == bool(tried)


def test_what_no_contract_speaks_of(gate: Gate, writer: VerdictReports) -> None:
    """A file of no tool, and one of a tool without a contract, are told so; temporary names and companions are left alone."""
    nobodys, plain = gate.put("check/x.csv", b"1\n"), gate.put("check/plain.csv", b"1\n")
    for name in ("check/people.csv.tmp", "check/_people.csv", "check/people.csv.sha256"):
        gate.put(name, b"1\n")
    assert writer.write_new() == 2
    assert "rehearsal: no tool takes a file of this name" in report_of(gate, nobodys)
    assert "tool: plain\noutcome: rehearsal: the file would go on unchecked, its tool has no contract" in report_of(gate, plain)


def test_a_server_that_stops(gate: Gate) -> None:
    """A rehearsal that a stopping server does not judge any more has its report from the next one."""
    guard = Guard(gate.system.resources, gate.system.journal, gate.system.placer)
    stopping = make_verdict_reports(gate.system, guard)
    assert stopping is not None
    file = gate.put("check/people.csv", rows(9))
    guard.stop()
    with pytest.raises(ShuttingDown):
        stopping.write_new()
    guard = Guard(gate.system.resources, gate.system.journal, gate.system.placer)
    following = make_verdict_reports(gate.system, guard)
    assert following is not None and following.write_new() == 1
    assert "nothing is wrong with the file" in report_of(gate, file)
    guard.stop()


@pytest.mark.promise("P5")
def test_renames(gate: Gate, writer: VerdictReports) -> None:
    """A rename inside the folder completes a rehearsal; one out of it sends the file in earnest; the folder keeps its name."""
    sender = gate.sender()
    file = gate.put("check/people.csv.tmp", rows(9))
    gate.acts.rename(sender, "check/people.csv.tmp", "check/people.csv", replacing=False, uploads=[])
    assert writer.write_new() == 1 and "nothing is wrong" in report_of(gate, file)
    gate.acts.rename(sender, "check/people.csv", "people.csv", replacing=False, uploads=[])
    assert gate.now(file).state is ArrivalState.WAITING  # its verdict is known
    gate.acts.rename(sender, "people.csv", "check/again.csv", replacing=False, uploads=[])
    assert gate.now(file).state is ArrivalState.IGNORED and gate.read("people.csv") is None
    with pytest.raises(Refused, match="rule: rehearsal folder"):
        gate.acts.rename(sender, "check", "real", replacing=False, uploads=[])


def test_a_home(gate: Gate, writer: VerdictReports) -> None:
    """A user's folder lies in its home, and is there when it logs in; the same name elsewhere is no rehearsal."""
    gate.acts.make_home("home")
    assert (gate.drop / "home" / "check").is_dir() and (gate.drop / "check").is_dir()
    file = gate.put("home/check/people.csv", rows(2), home="home")
    elsewhere = gate.put("home/sub/check/x.csv", rows(2), home="home")
    assert writer.write_new() == 1
    assert "would be held" in report_of(gate, file) and "send it to people.csv." in report_of(gate, file)
    assert elsewhere.state is ArrivalState.WAITING


def test_files_of_this_machine(gate: Gate, writer: VerdictReports) -> None:
    """What a local program writes into the folder is a rehearsal too: its report is the administrators', no sender's."""
    (gate.drop / "check" / "people.csv").write_bytes(rows(5))
    gate.sweeper.run()
    gate.clock.ahead += timedelta(minutes=1)
    gate.sweeper.run()
    assert writer.write_new() == 1
    [report] = [file for file in (gate.store / "reports").iterdir() if "report_check_people" in file.name]
    assert "the file would be held" in report.read_text() and gate.read("check/people.csv") is None
    with gate.system.ledger.reading() as connection:
        assert reports.owner_of(connection, report.name) == ""


def test_a_sender_who_reads_french(gate: Gate, writer: VerdictReports) -> None:
    """A report is in the language of its sender."""
    user = gate.system.settings.keys_dir / "users" / "erp"
    user.mkdir(parents=True)
    (user / "user.toml").write_text('language = "fr"\n')
    file = gate.put("check/people.csv", rows(5))
    writer.write_new()
    text = report_of(gate, file)
    assert "résultat : essai : le fichier serait retenu" in text or "résultat: essai : le fichier serait retenu" in text
    assert "5 lignes sur 10 du dernier fichier traité ont disparu" in text and "rehearsal" not in text


def test_after_a_day(gate: Gate) -> None:
    """Rehearsals go after a day, temporary files in their folder with them, and nothing else; the record of each stays."""
    old = [gate.put("check/people.csv", rows(9)), gate.put("check/sub.csv.tmp", b"1\n")]
    other = gate.put("_kept.csv", b"1\n")
    system = gate.system
    rules = system.placer.rules.rehearsals
    cleaner = OldRehearsals(system.resources, system.journal, rules, kept=timedelta(days=1), homes=lambda: ["home"])
    gate.system.resources.time.notice()
    gate.clock.ahead += timedelta(hours=23)
    young = gate.put("check/young.csv", rows(9))
    assert cleaner.remove() == {"rehearsals removed": 0}
    gate.clock.ahead += timedelta(hours=2)
    assert cleaner.remove() == {"rehearsals removed": 2}
    assert [gate.now(each).state for each in old] == [ArrivalState.DISCARDED] * 2
    assert gate.now(young).state is gate.now(other).state is ArrivalState.IGNORED
    gate.clock.set_by += timedelta(days=2)  # a clock that is set makes nothing older
    gate.system.resources.time.notice()
    assert cleaner.remove() == {} and gate.now(young).state is ArrivalState.IGNORED
    assert not (gate.drop / "check" / "people.csv").exists() and (gate.drop / "check" / "young.csv").exists()


@pytest.mark.promise("P1")
def test_in_front_of_a_stock_consumer(make_gate: Any) -> None:
    """Nothing of the folder ever lies where a batch tool sweeps."""
    tools = {"people": {"file": "sub/people.csv", "command": ["true"], "contract": CONTRACT}}
    gate = make_gate(tools=tools, handover="lock.txt")
    gate.acts.make_home("")
    gate.put("check/people.csv", rows(9))
    gate.sweeper.run()
    assert [entry.name for entry in gate.store.iterdir() if entry.is_file()] == []


def test_without_contracts(make_gate: Any) -> None:
    """If no tool has a contract, no folder is special: a file below that name goes where every file goes."""
    gate = make_gate()
    gate.acts.make_home("")
    assert not (gate.drop / "check").exists()
    assert gate.put("check/x.csv", b"1\n").state is ArrivalState.WAITING and gate.read("check/x.csv") == b"1\n"


@pytest.mark.parametrize("name", ["a/b", ".check", "_check", " check"])
def test_names_that_no_folder_can_have(name: str) -> None:
    """The folder has one name, which is not hidden."""
    with pytest.raises(ValueError, match="rehearsal_dir"):
        Settings(rehearsal_dir=name)


@pytest.mark.parametrize("name", ["Reports", "archives"])
def test_a_folder_of_the_servers_own(make_gate: Any, name: str) -> None:
    """A gate whose folder would be one of the server's own does not start, and says which setting is wrong."""
    with pytest.raises(SettingsError, match="rehearsal_dir"):
        make_gate(rehearsal_dir=name, tools=TOOLS)


def test_a_tool_that_is_pointed_into_the_folder() -> None:
    """A tool cannot wait for files that are never handed over: the settings are refused, and say what to do."""
    tools = TOOLS | {"third": {"file": "check/x.csv", "command": ["true"]}}
    with pytest.raises(ValueError, match=r"tools.third is pointed at 'check/x.csv'; name another folder"):
        Settings(tools=tools)
    assert Settings(tools=tools, rehearsal_dir="try").rehearsal_folder == "try"


@pytest.mark.parametrize(
    ("path", "home", "expected"),
    [
        ("check/x.csv", "", "x.csv"),
        ("check/sub/x.csv", "", "sub/x.csv"),
        ("h/check/x.csv", "h", "h/x.csv"),
        ("check/x.csv", "h", None),
        ("checks/x.csv", "", None),
        ("check", "", None),
        ("sub/check/x.csv", "", None),
    ],
)
def test_the_rule(path: str, home: str, expected: str | None) -> None:
    """A path is a rehearsal's if it is below the folder at the top of its sender's home."""
    assert RehearsalRules("check").rehearsed(path, home) == expected
    assert RehearsalRules().rehearsed(path, home) is None
