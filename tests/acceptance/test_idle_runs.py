"""``sftpgate run`` where nothing waits: cheap, and never wrong about it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.ledger.database import idle_query
from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.run_commands import Gate

# DESIGN asks for 0.15 s of a processor that has nothing else to do; a shared one needs several times as long for the same.
_FIRST_LIMIT_RATIO = 0.5


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate with two tools, one of which takes a pattern in directories; the first pass found nothing."""
    gate = Gate(tmp_path)
    gate.tools(
        "[tools.enrols]\nfile = 'enrols.csv'\ncommand = ['true']\n"
        "[tools.users]\nfile = ['s*/u?.csv', 'x.csv']\ncommand = ['true']\n"
    )
    assert gate("run", "--all") == (3, "", "")
    yield gate
    gate.world.close()


_HEAVY = {"typer", "pydantic", "pydantic_settings", "sqlalchemy", "structlog", "asyncio", "rich"}
_FEW = 10  # modules of ours, packages included: each costs as much as the whole look at the ledger


def is_short(gate: Gate, *arguments: str) -> bool:
    """Whether a pass has nothing to do and came to know it the short way, without a library that takes long to import."""
    code = (
        "import sys, runpy\n"
        "try:\n    runpy.run_module('sftpgate', run_name='__main__')\n"
        f"finally:\n    print(bool({_HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=gate.directory, env=gate.environment, capture_output=True, check=False
    )
    return (done.returncode, done.stdout) == (3, b"False\n")


def test_nothing_is_known_the_short_way(gate: Gate) -> None:
    """Where a pass found nothing, the next one knows it without reading the settings or opening the ledger in full."""
    for arguments in (["--all"], ["enrols"], ["enrols", "users", "-v"]):
        assert is_short(gate, "run", *arguments)


def test_the_short_way_imports_next_to_nothing(gate: Gate) -> None:
    """The short way imports a handful of modules of ours, and none that only a longer answer needs."""
    code = (
        "import sys, runpy\n"
        "try:\n    runpy.run_module('sftpgate', run_name='__main__')\n"
        "finally:\n    print(*(name for name in sys.modules if name.split('.')[0] == 'sftpgate'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "--all"],
        cwd=gate.directory,
        env=gate.environment,
        capture_output=True,
        check=False,
        text=True,
    )
    imported = done.stdout.split()
    assert done.returncode == 3
    assert "sftpgate.app.idle_run" in imported and len(imported) <= _FEW, imported


def test_the_short_way_costs_a_fraction(gate: Gate) -> None:
    """The short way costs less than half of the processor time that the long way costs."""

    def cost(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # a new interpreter, as cron starts one
        done = subprocess.run(gate.command(*arguments), cwd=gate.directory, env=gate.environment, check=False)
        assert done.returncode == 3
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    pairs = [(cost("run", "--all"), cost("run", "--all", "--limit", "1")) for _ in range(3)]
    assert min(short for short, _ in pairs) < _FIRST_LIMIT_RATIO * min(long for _, long in pairs)


def test_arrivals_are_not_missed(gate: Gate) -> None:
    """Whatever waits or is claimed for a tool is seen, also right after a pass that knew of nothing."""
    arrival = gate.world.send("sub/u1.csv")
    assert is_short(gate, "run", "enrols") and not is_short(gate, "run", "users")  # which ran it
    assert gate.world.now(arrival).state is ArrivalState.DONE
    assert gate("run", "--all") == (3, "", "")
    gate.world.send("enrols.csv")
    claim = gate.world.claims.take("enrols")
    assert claim is not None
    assert not is_short(gate, "run", "users")
    assert gate("run", "--all")[0] == 3


def test_files_for_nobody_do_not_count(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files wait that no tool takes, the short way is open; with as many that could be for one, it is not."""
    monkeypatch.setattr(idle_query, "_MANY", 3)
    database = gate.world.system.ledger.file
    assert database is not None
    for number in range(4):
        gate.world.send(f"u{number}.csv")
    assert is_short(gate, "run", "--all")
    assert idle_query.waiting_paths(database, ["enrols.csv", "s*/u?.csv"]) == []
    assert idle_query.waiting_paths(database, ["enrols.csv", "u?.csv"]) is None
    assert idle_query.waiting_paths(database, []) == []


@pytest.mark.parametrize(("pattern", "path"), [("[1]*.csv", "[1]a.csv"), ("a]?.csv", "a]b.csv"), ("s[a-z]/*", "s[a-z]/x.csv")])
def test_brackets_are_letters(gate: Gate, pattern: str, path: str) -> None:
    """A name with brackets is seen the short way as it is the long way."""
    gate.tools(f"[tools.odd]\nfile = '{pattern}'\ncommand = ['true']\n")
    assert gate("run", "--all") == (3, "", "")
    arrival = gate.world.send(path)
    assert not is_short(gate, "run", "--all")  # which ran it
    assert gate.world.now(arrival).state is ArrivalState.DONE


@pytest.mark.parametrize("path", ["enrols.csv", "sub/u1.csv", "x.csv"])
def test_local_files_are_not_missed(gate: Gate, path: str) -> None:
    """A file that a program writes into the store is seen by the next pass."""
    (gate.world.store / "sub").mkdir()
    (gate.world.store / path).write_text("a,b\n")
    code, output, _ = gate("run", "--all")
    assert code == 0 and path in output
    assert gate("run", "--all")[0] == 3
    (gate.world.store / "sub/other.csv").write_text("a,b\n")
    assert is_short(gate, "run", "--all")


def test_a_link_is_no_file(gate: Gate) -> None:
    """A link in the store is no file of a tool, here as elsewhere."""
    (gate.world.store / "enrols.csv").symlink_to("/etc/passwd")
    assert is_short(gate, "run", "--all")


def test_changed_settings_are_read(gate: Gate) -> None:
    """Other settings, another environment or another directory are looked at in full, and so is what is wrong with them."""
    gate.environment["SFTPGATE_LOG_LEVEL"] = "warning"
    assert not is_short(gate, "run", "--all")
    assert is_short(gate, "run", "--all")
    toml = gate.directory / "sftpgate.toml"
    good = toml.read_text()
    toml.write_text(good.replace("enrols.csv", "archives/enrols.csv"))
    assert gate("run", "--all")[0] == 78
    toml.write_text(good + "[tools.more]\nfile = 'more.csv'\ncommand = ['true']\n")
    assert not is_short(gate, "run", "--all")
    toml.write_text(good)
    gate.world.send("enrols.csv")
    assert gate("run", "--all")[0] == 0


def test_wrong_use_stays_wrong(gate: Gate) -> None:
    """An unknown tool or option is an error as before."""
    assert gate("run", "nothing")[0] == 5
    assert gate("run", "--nothing")[0] == 2
    assert gate("run")[0] == 2
    assert gate("run", "enrols", "--all")[0] == 2


@pytest.mark.parametrize("memo", [b"", b"{}", b"[1]", b"\xff", json.dumps({"digest": 1}).encode()])
def test_a_damaged_memo_is_no_harm(gate: Gate, memo: bytes) -> None:
    """A memo that cannot be read sends the pass the long way, and is written anew."""
    path = gate.world.store / ".sftpgate/idle"
    path.write_bytes(memo)
    gate.world.send("enrols.csv")
    assert gate("run", "--all")[0] == 0
    assert gate("run", "--all")[0] == 3
    assert json.loads(path.read_bytes())["store"] == os.path.realpath(gate.world.store)
