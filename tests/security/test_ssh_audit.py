"""What ssh-audit, which auditors run, finds in the algorithms that are offered."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest

from sftpgate.users.host_keys.files import ensure_host_keys
from tests.harness.gates import Gate, Start, running

# the library means to drop finite fields; the auditor tries them all the same
pytestmark = pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/security.md"
SECTION = "## What ssh-audit says"


@pytest.fixture
def start(base: Path, gate_keys: Path) -> Start:
    """Starts a gate with an RSA host key of the size that the server makes; the one of other tests is small."""
    shutil.copytree(gate_keys, base / "keys")
    for half in (base / "keys/host").glob("ssh_host_rsa_key*"):
        half.unlink()
    ensure_host_keys(base / "keys")
    return partial(running, base, gate_keys)


async def audit(gate: Gate) -> list[tuple[str, str]]:
    """Failures and warnings, each with its algorithm."""
    words = [str(Path(sys.executable).with_name("ssh-audit")), "--skip-rate-test", "-j", "-p", str(gate.port), "127.0.0.1"]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, error = await process.communicate()
    assert process.returncode in (0, 2, 3), error.decode()  # with warnings, with failures
    report = json.loads(out)
    assert report["kex"], "it saw no algorithms"
    assert "kex-strict-s-v00@openssh.com" in [entry["algorithm"] for entry in report["kex"]], "Terrapin"
    return [
        (entry["algorithm"], finding)
        for kind in ("kex", "key", "enc", "mac")
        for entry in report[kind]
        for level in ("fail", "warn")
        for finding in entry["notes"].get(level, [])
    ]


@pytest.mark.promise("P6")
async def test_hardened_has_no_finding(start: Start) -> None:
    """``hardened`` gives an auditor nothing to write down, and has Terrapin's countermeasure."""
    async with start(algorithms="hardened") as gate:
        assert await audit(gate) == []


@pytest.mark.promise("P6")
async def test_findings_of_the_default_are_documented(start: Start) -> None:
    """What ssh-audit finds in ``default`` is in docs/security.md, with the client that needs it, and nothing more is."""
    table = DOCUMENT.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    documented = {word for row in rows for word in row.split(" | ")[0].split("`")[1::2]}
    async with start(algorithms="default") as gate:
        found = {algorithm for algorithm, _ in await audit(gate)}
    assert found == documented


@pytest.mark.promise("P6")
async def test_legacy_has_strict_key_exchange(start: Start) -> None:
    """Terrapin's countermeasure is in force in the legacy profile, too, whatever else is found there."""
    async with start(algorithms="legacy") as gate:
        assert ("ssh-rsa", "using broken SHA-1 hash algorithm") in await audit(gate)
