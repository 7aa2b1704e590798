"""``make run`` is ``sftpgate quickstart``: from an empty directory to a server that an ERP can use."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.commands import clean_environment

pytestmark = pytest.mark.timeout(120)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _quickstart(directory: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A quickstart that has come to its ready line, and what it printed until then."""
    environment = clean_environment()
    process = subprocess.Popen(
        [sys.executable, "-m", "sftpgate", "quickstart"],
        cwd=directory,
        env=environment | {"SFTPGATE_PORT": str(port), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        printed = []
        for line in process.stdout:
            printed.append(line)
            if "ready on" in line and f"port {port}" in line:
                break
        assert process.poll() is None, "".join(printed) + (process.stderr.read() if process.stderr else "")
        yield process, "".join(printed)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_from_nothing_to_a_proven_server(tmp_path: Path) -> None:
    """The first run makes everything, proves the path, and serves; the printed line works; the second run keeps all."""
    port = _free_port()
    with _quickstart(tmp_path, port) as (_, printed):
        assert re.search(r"password, shown this once: \S{16}", printed)
        assert re.search(r"\d+ bytes sent by sftp were in data/store/sftpgate-sample\.csv", printed)
        assert stat.S_IMODE((tmp_path / "keys/clients/erp_ed25519").stat().st_mode) == 0o600
        assert list((tmp_path / "data/store").glob("*.csv")) == [], "the sample was removed"

        line = next(line for line in printed.splitlines() if line.strip().startswith("sftp -i"))
        (tmp_path / "enrols.csv").write_text("a,b\n", encoding="ascii")
        command = [*shlex.split(line)[:-1], "-b", "-", "-o", "BatchMode=yes", shlex.split(line)[-1]]
        subprocess.run(command, cwd=tmp_path, input="put enrols.csv\n", text=True, check=True, capture_output=True)
        assert (tmp_path / "data/store/enrols.csv").read_text(encoding="ascii") == "a,b\n"

    made = {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*") if path.is_file()}
    with _quickstart(tmp_path, port) as (_, printed):
        assert "password, shown" not in printed
        assert "kept: erp" in printed
        assert "kept: sftpgate.toml" in printed
    for path, content in made.items():
        assert path.read_bytes() == content, path
    assert (tmp_path / "data/store/enrols.csv").exists(), "what was waiting still waits"


def test_where_there_are_users_none_is_added(tmp_path: Path) -> None:
    """A gate with users of its own gets no user from the quickstart, which leaves the proof out and serves."""
    (tmp_path / "keys").mkdir()
    subprocess.run([sys.executable, "-m", "sftpgate", "user", "add", "hr"], cwd=tmp_path, check=True, capture_output=True)
    with _quickstart(tmp_path, _free_port()) as (_, printed):
        assert "kept: hr" in printed
        assert "left out" in printed
    assert [path.name for path in (tmp_path / "keys/users").iterdir() if not path.name.startswith(".")] == ["hr"]


def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    """Where the port is taken, the quickstart says so in one line on stderr and ends."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "sftpgate", "quickstart"],
            cwd=tmp_path,
            env=os.environ | {"SFTPGATE_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert "shown this once" in done.stdout, "the password of the user that was made is not lost"
    assert str(port) in done.stderr
