"""The examples of docs/runners.md, run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from tests.harness.run_commands import Gate

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "runners.md"
EXAMPLE = re.compile(r"```(?:php|sh|python)\n(?:<\?php\n|#!/bin/sh\n)?(?://|#) examples/(?P<name>[\w.]+):.*?```", re.DOTALL)
SETTINGS = re.compile(r"```toml\n(\[tools\.enrols\].*?)```", re.DOTALL)

needs_php = pytest.mark.skipif(shutil.which("php") is None, reason="php-cli is not installed")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate with the settings and the programs of the document, in a directory in which ``sftpgate`` is a command."""
    text = DOCUMENT.read_text(encoding="utf-8")
    gate = Gate(tmp_path)
    (tmp_path / "examples").mkdir()
    for found in EXAMPLE.finditer(text):
        code = found[0].partition("\n")[2].removesuffix("```")
        (tmp_path / "examples" / found["name"]).write_text(code, encoding="utf-8")
    [settings] = SETTINGS.findall(text)
    gate.tools(settings)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sftpgate").write_text(f'#!/bin/sh\nexec {sys.executable} -m sftpgate "$@"\n')
    (programs / "sftpgate").chmod(0o755)
    gate.environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    gate.environment["STORE"] = str(gate.world.store)
    yield gate
    gate.world.close()


def script(gate: Gate, *command: str) -> subprocess.CompletedProcess[str]:
    """Run an example."""
    return subprocess.run(
        command, cwd=gate.directory, env=gate.environment, capture_output=True, text=True, timeout=50, check=False
    )


def body(gate: Gate, name: str | None) -> str:
    """What a report says below its header."""
    return gate.world.report(name).decode().partition("\n\n")[2]


@needs_php
def test_php_command(gate: Gate) -> None:
    """A PHP command enrols, and gives back the lines that it cannot use with their header, for the sender to fetch."""
    arrival = gate.world.send("enrols.csv", b"user,course\nann,maths\n,physics\nbob,art\n")
    code, output, errors = gate("run", "enrols")
    assert (code, errors) == (0, ""), output
    [run] = gate.world.runs_of(arrival)
    assert body(gate, run.report) == "2 enrolled, 1 rejected\n"
    assert gate.world.report(run.tryback) == b"user,course\n,physics\n"
    assert run.tryback is not None and re.fullmatch(r"enrols_tryback_\d{8}-\d{4}\.csv", run.tryback)


def test_shell_script(gate: Gate) -> None:
    """A shell script takes one file after the other, each with a report, and ends well when nothing waits."""
    sent = [gate.world.send("enrols.csv", b"line\n" * number) for number in (1, 2)]
    done = script(gate, "sh", "examples/enrols.sh")
    assert (done.returncode, done.stderr) == (0, "")
    reports = [gate.world.runs_of(arrival)[0].report for arrival in sent]
    assert [body(gate, name) for name in reports] == ["1\n", "2\n"]
    assert {gate.world.now(arrival).state for arrival in sent} == {ArrivalState.DONE}


@needs_php
def test_php_script_with_claims(gate: Gate) -> None:
    """A PHP script claims a file as JSON, writes its report where the claim says, and says done."""
    assert script(gate, "php", "examples/claims.php").returncode == 0
    arrival = gate.world.send("enrols.csv", b"a\n\nb\n")
    done = script(gate, "php", "examples/claims.php")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    [run] = gate.world.runs_of(arrival)
    assert (run.outcome, body(gate, run.report)) == (RunOutcome.DONE, "2 lines from erp\n")


def test_python_script(gate: Gate) -> None:
    """A Python script takes one file after the other; an exception is a failed attempt with its traceback in the report."""
    good = gate.world.send("enrols.csv", b"user,course\nann,maths\n")
    bad = gate.world.send("enrols.csv", b"user,course\n,maths\n")
    done = script(gate, sys.executable, "examples/enrols.py")
    assert done.returncode == 1 and "a line without a user" in done.stderr
    [run] = gate.world.runs_of(good)
    assert (run.outcome, body(gate, run.report)) == (RunOutcome.DONE, "1 enrolled\n")
    [run] = gate.world.runs_of(bad)
    assert run.outcome is RunOutcome.FAILED
    assert "ValueError: a line without a user" in body(gate, run.report)
    assert gate.world.now(bad).state is ArrivalState.WAITING


@needs_php
def test_plain_php_script(gate: Gate) -> None:
    """A script that knows nothing of claims reads and removes the file; the sweep records it and brings up the next one."""
    sent = [gate.world.send("enrols.csv", b"line\n" * number) for number in (1, 2)]
    for number in (1, 2):
        assert script(gate, "php", "examples/plain.php").stdout == f"{number} lines\n"
        assert gate("sweep")[0] == 0
    assert script(gate, "php", "examples/plain.php").stdout == ""
    assert {gate.world.now(arrival).state for arrival in sent} == {ArrivalState.TAKEN}


def test_every_example_is_run() -> None:
    """No program of the document is left out of these tests."""
    text = DOCUMENT.read_text(encoding="utf-8")
    names = {found["name"] for found in EXAMPLE.finditer(text)}
    assert names == {"enrol.php", "enrols.sh", "claims.php", "enrols.py", "plain.php"}
    assert len(names) == len(re.findall(r"```(?:php|sh|python)\n", text))
