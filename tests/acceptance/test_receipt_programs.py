"""The programs of docs/receipts, run as they stand against a real server; the schema and the conformance test on its receipts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jsonschema
import pytest
import tree_sitter
import tree_sitter_powershell

from docs.generate import ROOT
from sftpgate.policy.receipts import ReceiptState
from tests.harness.servers import Gate, until

RECEIPTS = ROOT / "docs/receipts"
POLLERS = RECEIPTS / "pollers"
TOOLS = """
[tools.good]
file = "good*.csv"
command = ["true"]

[tools.rows]
file = "rows*.csv"
command = ["sh", "-c", "printf '{\\"rejected\\": [{\\"line\\": 2, \\"reason\\": \\"no such course\\"}]}' > $SFTPGATE_RESULT"]
"""
PROGRAMS = {
    "sh": ["sh", str(POLLERS / "send-and-wait.sh")],
    "python": [sys.executable, str(POLLERS / "send_and_wait.py")],
    "php": ["php", str(POLLERS / "send-and-wait.php")],
}

each_program = pytest.mark.parametrize(
    "program",
    [
        pytest.param(name, marks=pytest.mark.skipif(shutil.which(words[0]) is None, reason=f"{words[0]} is not installed"))
        for name, words in PROGRAMS.items()
    ],
)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A server with tools, and the file by which its receipts are believed."""
    directory = tmp_path_factory.mktemp("receipts")
    (directory / "sftpgate.toml").write_text(TOOLS, encoding="ascii")
    with Gate(directory) as made:
        made.start()
        (directory / "allowed_signers").write_text(made.command("hostkey", "show", "--allowed-signers"))
        yield made


def start(gate: Gate, program: str, name: str, content: str = "a,b\n1,2\n", **environment: str) -> subprocess.Popen[str]:
    """A program of the documents that sends a file and waits."""
    local = gate.directory / f"{program} {name.replace('/', '-')}"
    local.write_text(content)
    options = ["-P", str(gate.port), "-i", str(gate.key), "-F", "none", "-o", "BatchMode=yes"]
    options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    return subprocess.Popen(
        [*PROGRAMS[program], str(local), name, "erp@127.0.0.1", *options],
        env={**os.environ, "RECEIPT_SIGNERS": str(gate.directory / "allowed_signers"), "RECEIPT_TIMEOUT": "50", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How a program ends, and what it says."""
    said = process.communicate(timeout=55)
    return process.returncode, "".join(said)


def is_waiting(gate: Gate, name: str) -> bool:
    """Whether a file is there for its tool."""
    return gate.in_store(name) is not None


@each_program
def test_a_program_waits_for_the_outcome(gate: Gate, program: str) -> None:
    """A file that its tool takes ends with 0; one with rejected rows with 3. The same file a second time is waited for anew."""
    for name, tool, status, says in (
        (f"good-{program}.csv", "good", 0, "processed (accepted): The tool has taken the file."),
        (f"rows-{program}.csv", "rows", 3, "processed (accepted-with-errors)"),
        (f"good-{program}.csv", "good", 0, "processed (accepted)"),
    ):
        process = start(gate, program, name)
        until(partial(is_waiting, gate, name), "it has come")
        gate.command("run", tool)
        code, said = ended(process)
        assert (code, says in said) == (status, True), said


@each_program
def test_a_program_says_what_is_wrong(gate: Gate, program: str) -> None:
    """A held file ends with 4 at once, one of which nothing is said in time with 6, one that cannot be sent with 1. A receipt by
    a key that is not allowed ends with 7, and missing arguments with 2.
    """
    name = f"held-{program}.csv"
    (gate.directory / f"{name}.sha256").write_text(hashlib.sha256(b"other").hexdigest())
    assert gate.sftp(f"put {name}.sha256\n").wait() == 0
    forged = gate.directory / "nobody"
    forged.write_text(f'sftpgate namespaces="sftpgate-receipt" {gate.key.with_suffix(".pub").read_text()}')
    processes = [
        start(gate, program, name),
        start(gate, program, f"other-{program}.csv", RECEIPT_TIMEOUT="1"),
        start(gate, program, "/reports/x.csv"),
    ]
    found = [ended(process) for process in processes]
    assert [code for code, _ in found] == [4, 6, 1], found
    assert f"held-{program}.csv: held (checksum-mismatch)" in found[0][1]
    code, said = ended(start(gate, program, name, "again\n", RECEIPT_SIGNERS=str(forged)))
    assert (code, "not signed by a key" in said) == (7, True), said
    assert subprocess.run(PROGRAMS[program], capture_output=True, check=False, timeout=20).returncode == 2


def test_the_program_for_powershell_is_well_formed() -> None:
    """It parses without an error. It is not run here: the machines of the tests have no PowerShell."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    source = (POLLERS / "Send-AndWait.ps1").read_bytes()
    assert not parser.parse(source).root_node.has_error
    assert parser.parse(source.replace(b"while ($true) {", b"while ($true) ")).root_node.has_error


def fetched(gate: Gate, directory: Path) -> Path:
    """Everything in /receipts."""
    directory.mkdir()
    assert gate.sftp(f"get /receipts/* {directory}/\n").wait() == 0
    return directory


def conformance(*words: Path) -> tuple[int, str]:
    """What the conformance test says."""
    command = [sys.executable, "-I", str(RECEIPTS / "conformance.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def changed(receipt: Path, old: str, new: str) -> None:
    """Change a receipt."""
    text = receipt.read_text(encoding="utf-8")
    assert old in text
    receipt.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_receipts_are_in_form(gate: Gate, tmp_path: Path) -> None:
    """What a server writes is valid by the schema and passes the conformance test, which finds each kind of fault."""
    for name in ("good-1.csv", "good-2.csv"):
        (gate.directory / name).write_text(f"{name}\n")
        assert gate.sftp(f"put {name}\n").wait() == 0
    gate.command("run", "good", "good")
    until(lambda: '"processed"' in gate.command("receipts", gate.rows("good-2.csv")[0].id, "--json"), "its receipt")
    receipts, signers = fetched(gate, tmp_path / "got"), gate.directory / "allowed_signers"
    schema = json.loads((RECEIPTS / "receipt-v1.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]["state"]["enum"]) == {state.value for state in ReceiptState}
    for file in receipts.glob("*.json"):
        jsonschema.validate(json.loads(file.read_bytes()), schema)
    code, said = conformance(receipts, signers)
    assert (code, "nothing is wrong" in said) == (0, True), said
    first = next(receipts.glob("good-1.csv.*-received.json"))
    second = next(receipts.glob("good-1.csv.*-processed.json"))
    for file, old, new, finding in (
        (first, '"state": "received"', '"state": "perhaps"', "state is not as it should be"),
        (first, '"size": ', '"size": -', "size is no number"),
        (second, '"final": true', '"final": "yes"', "final is neither true nor false"),
        (second, '"action": "none"', '"action": "wait"', "it is final, and the sender is to wait"),
        (second, '"previous": "', '"previous": "0', "it does not name the receipt before it"),
        (receipts / "good-1.csv.json", '"number": 2', '"number": 1', "it is not the newest receipt of its name"),
        (first, "{", "", "it is no JSON"),
    ):
        before = file.read_bytes()
        changed(file, old, new)
        assert (conformance(receipts)[0], finding in conformance(receipts)[1]) == (1, True), finding
        assert "signature is missing" in conformance(receipts, signers)[1] or finding == "it is no JSON"
        file.write_bytes(before)
    (tmp_path / "empty").mkdir()
    assert conformance(tmp_path / "empty")[0] == 2
