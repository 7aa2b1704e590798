"""Files whose tool has a contract: held until they are judged, then published, or held for what is wrong."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sftpgate.app.composition import make_retention, make_verdict_reports
from sftpgate.app.runs.claims import make_claims
from sftpgate.contracts import judges
from sftpgate.depot import approvals, deposits
from sftpgate.depot.depot import DepotPath
from sftpgate.errors import StorageError
from sftpgate.handover import guard as guard_module
from sftpgate.handover.guard import Guard
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import command
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.locations import Location
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.upkeep.retention import VERDICTS_KEPT
from sftpgate.upkeep.verify import verify
from tests.harness.handover import Gate

HEADER = b"uid;name\n"
GOOD, BETTER, BAD = HEADER + b"u1;a\nu2;b\n", HEADER + b"u1;a\nu2;b\nu3;c\n", b"u1;a\nu2;b\n"
CONTRACT: dict[str, Any] = {"header": ["uid", "name"], "key": ["uid"], "max_removed": "40%"}


def tools(**contract: Any) -> dict[str, Any]:
    """Two tools with the same contract: one that takes the latest file, and a queue; and one without."""
    both = {"command": ["true"], "contract": CONTRACT | contract}
    return {
        "latest": {"file": "x.csv", **both},
        "queue": {"file": "q.csv", "arrivals": "queue", **both},
        "plain": {"file": "p.csv", "command": ["true"]},
    }


@pytest.fixture
def gate(make_gate: Any) -> Gate:
    """A gate whose tools have contracts."""
    made: Gate = make_gate(tools=tools())
    return made


def guard_of(gate: Gate) -> Guard:
    """What judges the gate's files."""
    return Guard(gate.system.resources, gate.system.journal, gate.system.placer)


def found(gate: Gate, arrival: Arrival) -> tuple[ArrivalState, HoldReason | None]:
    """What an arrival is now."""
    now = gate.now(arrival)
    return now.state, now.hold_reason


UNCHECKED = (ArrivalState.HELD, HoldReason.UNCHECKED)
OBJECTED = (ArrivalState.HELD, HoldReason.CONTRACT)
WAITING = (ArrivalState.WAITING, None)


@pytest.mark.promise("P1")
def test_a_good_file(gate: Gate) -> None:
    """A good file is in nobody's hands until it is judged, and in the store then; the same content is known after that."""
    arrival = gate.put("x.csv", GOOD)
    assert found(gate, arrival) == UNCHECKED and gate.read("x.csv") is None
    assert guard_of(gate).judge_held() == 1
    assert found(gate, arrival) == WAITING and gate.read("x.csv") == GOOD
    assert found(gate, gate.put("x.csv", GOOD)) == WAITING
    assert guard_of(gate).judge_held() == 0


@pytest.mark.promise("P1")
def test_a_bad_file(gate: Gate) -> None:
    """A bad file is held with the reason in words; the earlier good one stays for the tool, and a good one takes its place."""
    good = gate.put("x.csv", GOOD)
    guard_of(gate).judge_held()
    bad = gate.put("x.csv", BAD)
    assert guard_of(gate).judge_held() == 1
    assert found(gate, bad) == OBJECTED and found(gate, good) == WAITING and gate.read("x.csv") == GOOD
    detail = gate.now(bad).hold_detail
    assert detail is not None and detail.startswith("line 1: There is no header: the first row is data: u1;a")
    better = gate.put("x.csv", BETTER)
    assert gate.read("x.csv") == GOOD
    guard_of(gate).judge_held()
    assert found(gate, better) == WAITING and gate.read("x.csv") == BETTER
    assert gate.now(good).state is ArrivalState.REPLACED


@pytest.mark.promise("P3")
def test_two_that_are_checked(gate: Gate) -> None:
    """Of two files of a name that are being checked none is lost: a bad newer one leaves the older to the tool."""
    good, bad = gate.put("x.csv", GOOD), gate.put("x.csv", BAD)
    assert found(gate, good) == found(gate, bad) == UNCHECKED
    assert guard_of(gate).judge_held() == 2
    assert found(gate, good) == WAITING and found(gate, bad) == OBJECTED
    assert gate.read("x.csv") == GOOD


@pytest.mark.promise("P5")
def test_the_order_of_a_queue(gate: Gate) -> None:
    """A queue's files are judged in their order: none overtakes another, and one that is held keeps nobody back."""
    arrivals = [gate.put("q.csv", content) for content in (GOOD, BAD, BETTER)]
    assert guard_of(gate).judge_held() == 3
    assert [found(gate, arrival) for arrival in arrivals] == [WAITING, OBJECTED, (ArrivalState.QUEUED, None)]
    assert gate.read("q.csv") == GOOD


def events_of(gate: Gate, arrival: Arrival) -> list[tuple[str, str]]:
    """What is on the record of an arrival: events, and what they say of why."""
    with gate.system.ledger.reading() as connection:
        rows = event_log.history(connection, arrival.id)
    return [(row.event, str(row.details.get("because") or row.details.get("detail") or "")) for row in rows]


def run_tool(gate: Gate, tool: str) -> None:
    """Let a tool process its next file."""
    claims = make_claims(gate.system)
    claim = claims.take(tool)
    assert claim is not None
    claims.end(claim, ClaimEnd(outcome=RunOutcome.DONE))


@pytest.mark.promise("P8")
@pytest.mark.parametrize("path", ["x.csv", "q.csv"])
def test_a_contract_that_only_warns(make_gate: Any, path: str) -> None:
    """A contract in the mode "warn" holds nothing: a bad file goes on; what is wrong is on the record, and in a report."""
    gate = make_gate(tools=tools(mode="warn"))
    reports = make_verdict_reports(gate.system, guard_of(gate))
    assert reports is not None
    good, bad = gate.put(path, GOOD), gate.put(path, BAD)
    guard_of(gate).judge_held()
    assert found(gate, bad) == (WAITING if path == "x.csv" else (ArrivalState.QUEUED, None))
    assert [event for event, _ in events_of(gate, good)].count("arrival.warned") == 0
    assert ("arrival.warned", "line 1: There is no header: the first row is data: u1;a") in [
        (event, why[:55]) for event, why in events_of(gate, bad)
    ]
    again = gate.put(path, BAD)  # it is known by now
    assert "arrival.warned" in dict(events_of(gate, again))
    assert (reports.write_new(), reports.write_new()) == (2, 0)
    texts = [file.read_text() for file in (gate.store / "reports").iterdir()]
    assert len(texts) == 2
    assert all("accepted, with warnings" in text and "There is no header" in text for text in texts)


def test_a_warning_without_a_judge(make_gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract that only warns does not keep a file back if nobody can be asked."""
    gate = make_gate(tools=tools(mode="warn"))
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    arrival = gate.put("x.csv", GOOD)
    guard_of(gate).judge_held()
    assert found(gate, arrival) == WAITING
    assert ("arrival.warned", "The check itself failed: it could not be started.") in events_of(gate, arrival)


@pytest.mark.promise("P8")
def test_another_contract_while_a_file_is_held(make_gate: Any) -> None:
    """A file that is held is judged anew by a contract that has changed, and the record says why; a mode alone changes no
    verdict.
    """
    gate = make_gate(tools=tools())
    bad, short = gate.put("x.csv", BAD), gate.put("q.csv", HEADER)
    guard_of(gate).judge_held()
    assert found(gate, bad) == found(gate, short) == OBJECTED
    laxer = make_gate(tools=tools(min_rows=0))
    laxer.sweeper.run()
    assert found(laxer, bad) == found(laxer, short) == UNCHECKED
    assert laxer.now(short).hold_detail == "its contract is another one than when it was judged"
    assert guard_of(laxer).judge_held() == 2
    assert found(laxer, bad) == OBJECTED and found(laxer, short) == WAITING
    assert ("arrival.held", "its contract is another one than when it was judged") in events_of(laxer, short)
    warning = make_gate(tools=tools(min_rows=0, mode="warn"))
    warning.sweeper.run()
    assert found(warning, bad) == WAITING  # without being asked again
    assert guard_of(warning).judge_held() == 0


@pytest.mark.promise("P8")
def test_another_last_file_while_a_file_is_held(gate: Gate) -> None:
    """When the tool has processed another file, what is held is compared with that one, and the record says so."""
    many = HEADER + b"".join(b"u%d;a\n" % number for number in range(10))
    gate.put("q.csv", many)
    guard_of(gate).judge_held()
    run_tool(gate, "queue")
    few = gate.put("q.csv", HEADER + b"u1;a\nu2;b\n")
    guard_of(gate).judge_held()
    assert found(gate, few) == OBJECTED
    gate.put("q.csv", HEADER + b"".join(b"u%d;a\n" % number for number in range(7)))
    guard_of(gate).judge_held()
    run_tool(gate, "queue")
    gate.sweeper.run()
    assert ("arrival.held", "its tool has processed another file since it was judged") in events_of(gate, few)


@pytest.mark.promise("P5")
def test_a_verdict_before_its_turn(gate: Gate) -> None:
    """A file can be judged before its turn, for a sender who waits for that; it does not overtake one that came earlier."""
    guard = guard_of(gate)
    first, second = gate.put("q.csv", GOOD), gate.put("q.csv", BAD)
    assert [each.code for each in guard.judge_now(second)] == ["table.header_missing"]
    assert found(gate, first) == found(gate, second) == UNCHECKED
    assert guard.judge_now(first) == ()
    assert found(gate, first) == WAITING and found(gate, second) == UNCHECKED
    assert guard.judge_held() == 1
    assert found(gate, second) == OBJECTED
    alone = gate.put("x.csv", BAD)
    assert guard.judge_now(alone) and found(gate, alone) == OBJECTED


@pytest.mark.promise("P3", "P5")
def test_the_removal_of_what_is_held(gate: Gate) -> None:
    """A client that removes what failed removes that, and not the earlier good file; a second time it removes the good one."""
    good = gate.put("x.csv", GOOD)
    guard_of(gate).judge_held()
    bad = [gate.put("x.csv", BAD), gate.put("x.csv", BAD + b"u9;z\n")]
    guard_of(gate).judge_held()
    gate.acts.remove(gate.sender(), "x.csv", [])
    assert [gate.now(each).state for each in bad] == [ArrivalState.WITHDRAWN] * 2
    assert found(gate, good) == WAITING and gate.read("x.csv") == GOOD
    gate.acts.remove(gate.sender(), "x.csv", [])
    assert gate.now(good).state is ArrivalState.WITHDRAWN and gate.read("x.csv") is None


def test_a_judge_that_fails_before_its_turn(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that failed is nothing to tell a sender at once: the file is held, and it is nobody's word against it."""
    monkeypatch.setattr("sys.executable", judge_that(tmp_path, "sys.exit(1)"))
    arrival = gate.put("x.csv", GOOD)
    assert guard_of(gate).judge_now(arrival) == ()
    assert found(gate, arrival) == OBJECTED


LATIN, AS_UTF8 = "uid;name\nu1;Zoé\n".encode("cp1252"), "uid;name\nu1;Zoé\n".encode()


@pytest.mark.promise("P3", "P8")
@pytest.mark.parametrize("path", ["x.csv", "q.csv"])
def test_a_file_that_is_converted(make_gate: Any, path: str) -> None:
    """A file in another encoding reaches its tool in the right one, keeps its turn, and is in the archives as it came."""
    gate = make_gate(tools=tools(convert=True))
    file = gate.put(path, LATIN)
    behind = gate.put(path, BETTER)
    assert guard_of(gate).judge_held() == 2
    [kept] = gate.archived()[-1:] if path == "q.csv" else [each for each in gate.archived() if each == LATIN]
    assert kept == LATIN
    now = gate.now(file)
    if path == "q.csv":
        assert gate.read(path) == AS_UTF8 and now.state is ArrivalState.WAITING
        assert now.sha256 == sha256(AS_UTF8).hexdigest() and now.size == len(AS_UTF8)
        assert found(gate, behind) == (ArrivalState.QUEUED, None)
    else:
        assert gate.read(path) == BETTER and AS_UTF8 in gate.archived()
    assert "arrival.converted" in dict(events_of(gate, file))
    assert [violation.rule for violation in verify(gate.system.resources, gate.system.journal)] == []
    assert list((gate.store / ".sftpgate/staging/-").glob("*")) == []


@pytest.mark.promise("P3")
def test_a_converted_file_that_is_bad(make_gate: Any) -> None:
    """A converted file that is bad all the same is held, converted; one that cannot be converted is held as it is."""
    gate = make_gate(tools=tools(convert=True))
    bad = gate.put("x.csv", LATIN + b"u2;a;b\n")
    unknown = gate.put("q.csv", LATIN + b"u2;\x81\n")
    guard_of(gate).judge_held()
    assert found(gate, bad) == found(gate, unknown) == OBJECTED
    assert gate.now(bad).size == len(AS_UTF8) + 7 and gate.now(unknown).size == len(LATIN) + 5
    assert gate.archived() == [LATIN + b"u2;a;b\n"]
    again = gate.put("x.csv", LATIN)
    assert guard_of(gate).judge_now(again) == ()
    assert gate.read("x.csv") == AS_UTF8


def test_a_deposit_that_is_converted(make_gate: Any, tmp_path: Path) -> None:
    """What a person of this machine deposits is converted too."""
    gate = make_gate(tools=tools(convert=True))
    resources, journal, placer = gate.system.resources, gate.system.journal, gate.system.placer
    local = deposits.Deposits(resources, journal, placer, command(), max_upload_bytes=10_000, free_space_floor=0)
    (tmp_path / "file.csv").write_bytes(LATIN)
    with (tmp_path / "file.csv").open("rb") as source:
        local.put(source, DepotPath("x.csv"))
    guard_of(gate).judge_held()
    assert gate.read("x.csv") == AS_UTF8


def test_a_tool_without_a_contract(gate: Gate) -> None:
    """A file of a tool without a contract, and one of no tool, wait at once."""
    assert found(gate, gate.put("p.csv", BAD)) == WAITING
    assert found(gate, gate.put("nobody.csv", BAD)) == WAITING


def test_an_admins_decision(gate: Gate) -> None:
    """What a contract holds an admin can approve; neither a sweep nor a companion that comes holds it again."""
    bad = gate.put("x.csv", BAD)
    guard_of(gate).judge_held()
    with gate.system.journal.change() as change:
        approvals.approve(change, gate.system.placer, change.get(bad.id), actor=command(), reason="it is right")
    assert gate.read("x.csv") == BAD
    gate.sweeper.run()
    guard_of(gate).judge_held()
    assert found(gate, bad) == WAITING
    gate.put("x.csv.sha256", sha256(BAD).hexdigest().encode())  # its companions are looked at again
    assert found(gate, bad) == WAITING and gate.read("x.csv") == BAD


def judge_that(tmp_path: Path, *does: str) -> str:
    """A program in the place of the judge's Python: it takes one job, and does this with it."""
    program = tmp_path / "judge"
    lines = [
        f"#!{sys.executable} -S",
        "import json, os, socket, sys, time",
        "link = socket.socket(fileno=int(sys.argv[-1]))",
        "_, (job, answer, *files), _, _ = socket.recv_fds(link, 1, 4)",
        "ANSWER = dict(sha256='', converted=['', ''], rows=1, objections=[], difference=None, groups=[])",
        *does,
    ]
    program.write_text("\n".join(lines))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


NO_ANSWER = "it ran out of memory or time"


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("os.kill(os.getpid(), 9)", NO_ANSWER),
        ("sys.exit(1)", NO_ANSWER),
        ("os.write(answer, b'{')", "its answer is no answer"),
        ("os.write(answer, b'[]')", "its answer is no answer"),
        ("os.write(answer, b'x' * 5_000_000)", "its answer is no answer"),
        ("os.write(answer, json.dumps({'error': 'ValueError: x'}).encode())", "it came to no end"),
        (
            "os.write(answer, json.dumps(dict(sha256='', converted=['', ''], rows=1, objections=[], difference=None)).encode())",
            "its answer is no answer",
        ),
        (
            "os.write(answer, json.dumps(ANSWER).encode())",
            "the file is not the one that arrived any more",
        ),
    ],
)
def test_a_judge_that_fails(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, why: str) -> None:
    """A judge that dies, or answers nonsense, has not said that a file is good: it is held, and the reason says so."""
    monkeypatch.setattr("sys.executable", judge_that(tmp_path, does))
    arrival = gate.put("x.csv", GOOD)
    guard_of(gate).judge_held()
    assert found(gate, arrival) == OBJECTED
    assert gate.now(arrival).hold_detail == f"The check itself failed: {why}."
    gate.sweeper.run()
    assert found(gate, arrival) == OBJECTED
    monkeypatch.undo()
    again = gate.put("x.csv", GOOD)
    guard_of(gate).judge_held()
    assert found(gate, again) == WAITING  # what failed once is no verdict on the content


def test_a_judge_that_cannot_be_started(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no judge can be started, files go on being checked, and nothing overtakes them; later they are judged."""
    arrivals = [gate.put("q.csv", content) for content in (GOOD, BETTER)]
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", "/nonexistent/python")
        assert guard_of(gate).judge_held() == 0
    assert [found(gate, arrival) for arrival in arrivals] == [UNCHECKED, UNCHECKED]
    assert guard_of(gate).judge_held() == 2


def test_a_judge_that_takes_too_long(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that comes to no end is ended, and the file held."""
    monkeypatch.setattr("sys.executable", judge_that(tmp_path, "time.sleep(600)"))
    monkeypatch.setattr(guard_module, "JUDGE_SECONDS", 0.1)
    monkeypatch.setattr(judges, "PATIENCE_SECONDS", 0.0)
    arrival = gate.put("x.csv", GOOD)
    guard_of(gate).judge_held()
    assert found(gate, arrival) == OBJECTED


def test_a_judge_for_many_files(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process is started for all files; when it has died, the next file has another one."""
    guard = guard_of(gate)
    started: list[int] = []
    popen = subprocess.Popen

    def counted(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = popen(*args, **options)
        started.append(process.pid)
        return process

    monkeypatch.setattr(subprocess, "Popen", counted)
    for number, content in enumerate((GOOD, BETTER, GOOD + b"u9;z\n")):
        arrival = gate.put("x.csv", content)
        guard.judge_held()
        assert found(gate, arrival) == WAITING
        assert len(started) == 1 + (number == 2)
        if number == 1:
            os.killpg(started[0], signal.SIGKILL)
            os.waitid(os.P_PID, started[0], os.WEXITED | os.WNOWAIT)
    guard.stop()
    assert not Path(f"/proc/{started[1]}").exists()


def test_a_server_that_stops(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops ends its judge; the file goes on being checked, and the next server judges it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    arrival = gate.put("x.csv", GOOD)
    guard = guard_of(gate)
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", judge_that(tmp_path, f"open({str(pipe)!r}, 'w').write('at work')", "time.sleep(600)"))
        thread = threading.Thread(target=guard.judge_held)
        thread.start()
        assert pipe.read_text() == "at work"
        guard.stop()
        thread.join()
    assert found(gate, arrival) == UNCHECKED
    assert guard_of(gate).judge_held() == 1
    assert found(gate, arrival) == WAITING


def test_a_deposit(gate: Gate, tmp_path: Path) -> None:
    """What a person of this machine deposits is judged first: a good file waits at once, a bad one is held."""
    local = deposits.Deposits(
        gate.system.resources, gate.system.journal, gate.system.placer, command(), max_upload_bytes=10_000, free_space_floor=0
    )
    file = tmp_path / "file.csv"
    for content, expected in ((GOOD, WAITING), (BAD, OBJECTED)):
        file.write_bytes(content)
        with file.open("rb") as source:
            assert found(gate, local.put(source, DepotPath("x.csv"))) == expected
    assert gate.read("x.csv") == GOOD


@pytest.mark.promise("P1")
def test_a_last_file_that_cannot_be_read(make_gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the file that it is to be compared with, nothing is judged; when that can be read again, the file is."""
    gate = make_gate(tools=tools())
    first = gate.put("x.csv", BETTER)
    guard_of(gate).judge_held()
    run_tool(gate, "latest")
    second = gate.put("x.csv", HEADER + b"u1;a\n")
    archived = gate.now(first).location
    assert archived is not None
    is_broken = True
    opened = gate.system.journal.contents.open

    def broken(where: Location) -> int:
        if where == archived and is_broken:
            raise StorageError("the disk cannot read this just now")
        return int(opened(where))

    monkeypatch.setattr(gate.system.journal.contents, "open", broken)
    with pytest.raises(StorageError):
        guard_of(gate).judge_held()
    assert found(gate, second) == UNCHECKED
    is_broken = False
    guard_of(gate).judge_held()
    assert found(gate, second) == OBJECTED


def test_old_verdicts(gate: Gate) -> None:
    """Verdicts go when they are old; a file that is held by one is judged again then, and is never let go by that."""
    bad = gate.put("x.csv", BAD)
    guard_of(gate).judge_held()
    gate.clock.ahead += VERDICTS_KEPT + timedelta(days=1)
    make_retention(gate.system).prune()
    gate.sweeper.run()
    assert found(gate, bad) == UNCHECKED
    guard_of(gate).judge_held()
    assert found(gate, bad) == OBJECTED


def test_another_contract(make_gate: Any) -> None:
    """A changed contract asks anew: what an earlier one held is judged by the new one."""
    first = make_gate(tools=tools(min_rows=5))
    arrival = first.put("x.csv", GOOD)
    guard_of(first).judge_held()
    assert found(first, arrival) == OBJECTED
    second = make_gate(tools=tools(min_rows=2))
    second.sweeper.run()
    assert found(second, arrival) == UNCHECKED
    guard_of(second).judge_held()
    assert found(second, arrival) == WAITING
