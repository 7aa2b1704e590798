"""The wheel, installed as people do it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.installation.conftest import MINUTES, UV

PYTHON = "/usr/bin/python3"
READY = re.compile(r"^sftpgate is ready on (\S+) port (\d+)", re.MULTILINE)


def test_what_is_inside(wheel: Path) -> None:
    """The program's data is in the wheel: units, adapters, the mark of types; neither tests nor documents are."""
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("units/sftpgate.service", "units/sftpgate.cron", "adapters/hand_in.php", "py.typed"):
        assert f"sftpgate/{name}" in names
    assert [name for name in names if not name.startswith(("sftpgate/", "sftpgate-"))] == []


def test_the_source_has_what_a_wheel_takes(wheel: Path) -> None:
    """A wheel made from the sdist has the same files."""
    [source] = wheel.parent.glob("*.tar.gz")
    made = wheel.parent / "again"
    build = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*build, "--out-dir", str(made), str(source)], check=True, timeout=MINUTES)
    [again] = made.glob("*.whl")
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()


def with_pip(wheel: Path, home: Path) -> Path:
    """An empty environment, and pip."""
    subprocess.run([PYTHON, "-m", "venv", home / "venv"], check=True, timeout=MINUTES)
    subprocess.run([home / "venv/bin/pip", "install", "--quiet", wheel], check=True, timeout=MINUTES)
    return home / "venv/bin/sftpgate"


def with_pipx(wheel: Path, home: Path) -> Path:
    """pipx, in a home of its own."""
    places = {"PIPX_HOME": str(home / "pipx"), "PIPX_BIN_DIR": str(home / "bin"), "USE_EMOJI": "0"}
    command = [str(Path(sys.executable).with_name("pipx")), "install", "--quiet", "--python", PYTHON, str(wheel)]
    subprocess.run(command, check=True, timeout=MINUTES, env=os.environ | places)
    return home / "bin/sftpgate"


def with_uv(wheel: Path, home: Path) -> Path:
    """uv tool, in a home of its own."""
    places = {"UV_TOOL_DIR": str(home / "tools"), "UV_TOOL_BIN_DIR": str(home / "bin")}
    command = [UV, "tool", "install", "--quiet", "--python", PYTHON, str(wheel)]
    subprocess.run(command, check=True, timeout=MINUTES, env=os.environ | places)
    return home / "bin/sftpgate"


@pytest.mark.parametrize("install", [with_pip, with_pipx, with_uv])
def test_from_a_wheel_to_a_gate(wheel: Path, tmp_path: Path, install: Callable[[Path, Path], Path]) -> None:
    """Installed into an empty environment, quickstart makes a gate in any directory and proves it with a sample file."""
    program = install(wheel, tmp_path / "home")
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "sftpgate.toml").write_text("port = 0\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SFTPGATE_", "PYTHON"))}
    with (tmp_path / "said.txt").open("w+") as said:
        gate = subprocess.Popen(
            [program, "quickstart"], cwd=tmp_path / "gate", env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            assert gate.stdout is not None
            for line in gate.stdout:
                said.write(line)
                if READY.match(line):
                    break
        finally:
            gate.terminate()
            gate.communicate(timeout=30)
        said.seek(0)
        text = said.read()
    assert READY.search(text) and "sent by sftp" in text, text
    assert (tmp_path / "gate/data/ledger.db").exists()
