"""Receipts of a real server: there soon after the CLOSE, proven by ssh-keygen, and verified by the admin's commands."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.servers import Gate, until

SOON_SECONDS = 20.0  # on a machine that is busy with tests; alone it is a quarter of a second


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A server with a tool."""
    (tmp_path / "sftpgate.toml").write_text('[tools.a]\nfile = "a.csv"\ncommand = ["true"]\n', encoding="ascii")
    with Gate(tmp_path) as made:
        made.start()
        (tmp_path / "a.csv").write_text("a,b\n1,2\n")
        yield made


def fetched(gate: Gate, name: str, *, state: str) -> Path:
    """A receipt and its signature, as soon as it says this."""
    local = gate.directory / name

    def is_there() -> bool:
        local.unlink(missing_ok=True)
        done = gate.sftp(f"get /receipts/{name} {local}\n").wait()
        return done == 0 and json.loads(local.read_bytes())["state"] == state

    until(is_there, f"{name} says {state}")
    own = str(json.loads(local.read_bytes())["receipt"])
    assert gate.sftp(f"get /receipts/{own} {gate.directory}/\nget /receipts/{own}.sig {gate.directory}/\n").wait() == 0
    return gate.directory / own


@pytest.mark.promise("P8")
def test_a_sender_proves_what_it_was_told(gate: Gate) -> None:
    """Receipts are there soon after the CLOSE and after the run; ssh-keygen proves them with what `hostkey show` prints."""
    assert gate.sftp("put a.csv\n").wait() == 0
    begun = time.monotonic()
    first = fetched(gate, "a.csv.json", state="received")
    assert time.monotonic() - begun < SOON_SECONDS
    gate.command("run", "a")
    second = fetched(gate, "a.csv.json", state="processed")
    assert json.loads(second.read_bytes())["run"]["report"].endswith("_report_a.csv")
    signers = gate.directory / "allowed_signers"
    signers.write_text(gate.command("hostkey", "show", "--allowed-signers"))
    for receipt in (first, second):
        words = [
            "ssh-keygen",
            "-Y",
            "verify",
            "-f",
            str(signers),
            "-I",
            "sftpgate",
            "-n",
            "sftpgate-receipt",
            "-s",
            f"{receipt}.sig",
        ]
        done = subprocess.run(words, input=receipt.read_bytes(), capture_output=True, check=False, timeout=20)
        assert done.returncode == 0, done.stderr
    listed = json.loads(gate.command("receipts", json.loads(first.read_bytes())["arrival"], "--json"))
    assert [each["state"] for each in listed] == ["received", "processed"]
    assert "processed" in gate.command("receipts", json.loads(first.read_bytes())["arrival"])


@pytest.mark.promise("P8")
def test_an_admin_verifies_a_receipt(gate: Gate) -> None:
    """`verify --receipt` shows that signature, ledger and audit record agree, also after a rotation; a changed receipt, one of
    another gate's key, and a record that was changed later are found.
    """
    assert gate.sftp("put a.csv\n").wait() == 0
    receipt = fetched(gate, "a.csv.json", state="received")
    gate.command("hostkey", "rotate", "--overlap", "1d")
    gate.command("hostkey", "rotate", "--finish")
    found = json.loads(gate.command("verify", "--receipt", str(receipt), "--json"))
    assert [each["is_good"] for each in found] == [True, True, True]
    assert "the chain is whole" in found[2]["explanation"]
    forged = gate.directory / "forged.json"
    forged.write_bytes(receipt.read_bytes().replace(b'"state": "received"', b'"state": "processed"'))
    forged.with_name("forged.json.sig").write_bytes(receipt.with_name(f"{receipt.name}.sig").read_bytes())
    done = gate.attempt("verify", "--receipt", str(forged))
    assert (done.returncode, "one of the two was changed" in done.stdout) == (1, True)
    assert gate.attempt("verify", "--receipt", str(gate.directory / "nothing.json")).returncode != 0
    assert gate.stop() == 0
    record = json.loads(receipt.read_bytes())["record"]["number"]
    with sqlite3.connect(gate.data / "ledger.db") as ledger:
        ledger.execute("UPDATE events SET actor = 'eve' WHERE seq = ?", (record,))
    done = gate.attempt("verify", "--receipt", str(receipt))
    assert (done.returncode, "its hash does not fit" in done.stdout) == (1, True)


def test_a_user_without_receipts(gate: Gate) -> None:
    """`receipts = false` in a user's file: it has none from then on, without a restart, and the other users do."""
    with (gate.directory / "keys/users/erp/user.toml").open("a") as file:
        file.write("receipts = false\n")
    assert gate.sftp("put a.csv\n").wait() == 0
    (gate.directory / "b.csv").write_text("b\n")
    assert gate.sftp("put b.csv\n", user="other").wait() == 0
    until(lambda: gate.sftp(f"get /receipts/b.csv.json {gate.directory}/\n", user="other").wait() == 0, "the other's receipt")
    assert gate.sftp(f"get /receipts/a.csv.json {gate.directory}/\n").wait() != 0


@pytest.mark.promise("P8")
def test_kills_leave_no_gap(gate: Gate) -> None:
    """However often the writer of receipts is killed, each file has its receipts once, numbered from 1 without gaps."""
    ids = []
    for number in range(6):
        (gate.directory / "a.csv").write_text(f"a,b\n{number},2\n")
        assert gate.sftp(f"put a.csv {number}.csv\n").wait() == 0
        if (pid := gate.follower()) is not None and number % 2:
            os.kill(pid, signal.SIGKILL)
        ids += [row.id for row in gate.rows(f"{number}.csv")]
    until(lambda: json.loads(gate.command("receipts", ids[-1], "--json")), "the last receipt")
    for each in ids:
        found = json.loads(gate.command("receipts", each, "--json"))
        assert [(said["number"], said["state"]) for said in found] == [(1, "received")]
