"""The wheel, and an environment that everybody of a machine may use with it in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.machines import Machine, programs_are_there

TOP = Path(__file__).resolve().parents[2]
UV = str(Path(sys.executable).with_name("uv"))
MINUTES = 600


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as `make dist` makes it."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(["make", "-s", "-C", str(TOP), "dist", f"DIST={directory}"], check=True, timeout=MINUTES)
    [made] = directory.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def opt(wheel: Path) -> Iterator[Path]:
    """An environment with the wheel in it, of the distribution's own Python, where everybody may go."""
    directory = Path("/opt/sftpgate-under-test")
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", directory], check=True, timeout=MINUTES)
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", directory / "bin" / "python", wheel], check=True, timeout=MINUTES
    )
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def machine(tmp_path: Path, opt: Path) -> Iterator[Machine]:
    """A machine with systemd, on which the program is installed."""
    assert opt.is_dir()
    if not programs_are_there():
        pytest.skip("needs root, and systemd (Debian: systemd)")
    made = Machine(tmp_path / "machine")
    yield made
    made.stop()
