"""A data directory that cannot be written, as a container's volume with a wrong owner is one."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from tests.harness.commands import clean_environment


def test_a_start_says_whose_the_data_directory_must_be(tmp_path: Path) -> None:
    """A start that cannot write into its data directory, with metrics on, is refused with the directory and what to do."""
    (tmp_path / "volume").write_text("not a directory", encoding="ascii")
    data = tmp_path / "volume" / "data"
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-m", "sftpgate", "serve"],
        cwd=tmp_path,
        env=clean_environment() | {"SFTPGATE_DATA_DIR": str(data), "SFTPGATE_METRICS_PORT": str(port), "SFTPGATE_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78, done.stderr
    assert f"cannot write into the data directory {data}" in done.stderr and "this is a bug" not in done.stderr
