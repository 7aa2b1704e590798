"""The commands of docs/platforms/moodle.md, as they stand, on a gate with stand-ins in the place of the platform's scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.commands import clean_environment
from tests.platforms.world import Platform

DOCUMENT = Path(__file__).parents[2] / "docs" / "platforms" / "moodle.md"
USERS = b"username,firstname,lastname,email\nu8,A,B,a@example.org\nu9,C,D,none\n"

pytestmark = [pytest.mark.skipif(shutil.which("php") is None, reason="php-cli is not installed"), pytest.mark.timeout(120)]


def blocks() -> list[str]:
    """The shell commands of the document, block by block."""
    return re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_document_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing to a run whose outcome is known: every command of the document ends well, in its order."""
    platform = Platform.make(tmp_path, monkeypatch)
    gate = tmp_path / "gate"
    (gate / "bin").mkdir(parents=True)
    command = gate / "bin" / "sftpgate"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m sftpgate "$@"\n')
    command.chmod(0o755)
    environment = clean_environment()
    environment |= {"PATH": f"{gate / 'bin'}:{environment['PATH']}", "SFTPGATE_SETTLE_SECONDS": "0", "NO_COLOR": "1"}
    settings = gate / "sftpgate.toml"
    settings.write_text('durability = "relaxed"\n')

    def shell(text: str) -> str:
        done = subprocess.run(["sh", "-e", "-c", text], cwd=gate, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        return done.stdout

    users, check, by_hand, flatfile, plugin = blocks()
    assert "users" in shell(users)
    settings.write_text(settings.read_text().replace("/var/www/moodle", str(platform.code)))
    shell(check)
    (gate / "users.csv").write_bytes(USERS)
    shell("sftpgate store put users.csv users.csv")
    output = shell(by_hand)
    assert "users: users.csv done with 1 rejected" in output and "users.csv" in output.splitlines()[-1]
    shell(flatfile)
    shell(plugin)
    text = settings.read_text()
    assert "hand_in.php" in text and "enrolsync_task" in text
    assert "[tools.groups]" in text


def test_the_document_names_real_paths() -> None:
    """What the document says of presets and settings is there."""
    from sftpgate.app.tools.presets import PRESETS

    text = DOCUMENT.read_text(encoding="utf-8")
    for option in ("--uutype=2", "--uuupdatetype=1", "--delimiter_name=comma", "--encoding=UTF-8"):
        assert option in text and option in PRESETS["users"].command
