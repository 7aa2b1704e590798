"""Makes a small gate by the code of an earlier commit, for the tests: `python tests/upgrade/make_gate.py COMMIT FILE`.

The code is taken out of this repository and run as it is, with the packages of this environment. The gate has one file of each
standing: processed, waiting, queued, claimed, held, ignored, in quarantine, and an upload that was interrupted. FILE is a
compressed tar of its directory, small enough to be kept beside the tests.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import asyncssh

ROOT = Path(__file__).resolve().parents[2]
MAIN = "from sftpgate.cli.main import main; main()"
PASSWORD = "correct horse battery staple"
SETTINGS = """\
[tools.users]
file = "users.csv"
command = ["true"]

[tools.enrols]
file = "enrols.csv"
command = ["true"]
arrivals = "queue"

[tools.broken]
file = "broken.csv"
command = ["false"]
max_attempts = 1
"""


class EarlierGate:
    """A gate of an earlier commit in ``directory``."""

    def __init__(self, code: Path, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(code),
            "SFTPGATE_HOST": "127.0.0.1",
            "SFTPGATE_PORT": str(self.port),
        }

    def command(self, *words: str, text: str = "", status: int = 0) -> str:
        """Run a command of that time; it must end with ``status``."""
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *words],
            cwd=self.directory, env=self.environment, input=text, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode != status:
            raise SystemExit(f"{words}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def serve(self) -> subprocess.Popen[str]:
        """Start the server of that time; returns when it listens."""
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "serve"], cwd=self.directory, env=self.environment, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "ready" in line or "listening" in line:
                return process
        raise SystemExit("the server did not start")


async def send(port: int) -> None:
    """Send one file of each kind that only a sender makes."""
    login = {"username": "erp", "password": PASSWORD, "known_hosts": None, "client_keys": None}
    async with asyncssh.connect("127.0.0.1", port, **login) as connection, connection.start_sftp_client() as sftp:
        for name, content in (
            ("users.csv", b"user\nann\n"),
            ("enrols.csv", b"user,course\nann,maths\n"),
            ("enrols.csv", b"user,course\nbob,art\n"),
            ("part.csv", b"x" * 65536),
            ("wrong.csv.sha256", b"0" * 64 + b"  wrong.csv\n"),
            ("wrong.csv", b"another content\n"),
            ("_aside.csv", b"aside\n"),
            ("plain.csv", b"waits for a program that just opens it\n"),
        ):
            async with sftp.open(f"/sync/{name}", "wb") as file:
                await file.write(content)
        interrupted = await sftp.open("/sync/interrupted.csv", "wb")
        for number in range(4):
            await interrupted.write(b"y" * 32768, number * 32768)
        connection.abort()


def make(commit: str, target: Path) -> None:
    """Make a gate by the code of ``commit`` and pack it."""
    with tempfile.TemporaryDirectory() as place:
        code, directory = Path(place, "code"), Path(place, "gate")
        code.mkdir()
        directory.mkdir()
        packed = subprocess.run(["git", "-C", str(ROOT), "archive", commit, "sftpgate"], capture_output=True, check=True).stdout
        subprocess.run(["tar", "-xf", "-", "-C", str(code)], input=packed, check=True)
        (directory / "sftpgate.toml").write_text(SETTINGS, encoding="ascii")
        gate = EarlierGate(code, directory)
        gate.command("user", "add", "erp", "--password-stdin", text=f"{PASSWORD}\n")
        for name in ("users.csv", "broken.csv"):
            (directory / name).write_bytes(b"user\nbefore\n")
            gate.command("store", "put", name, name)
        gate.command("run", "users")
        gate.command("run", "broken", status=4)
        process = gate.serve()
        try:
            asyncio.run(send(gate.port))
        finally:
            process.terminate()
            process.wait(60)
        gate.command("claim", "users")
        with tarfile.open(target, "w:xz") as packing:
            for name in ("data", "keys", "sftpgate.toml"):
                packing.add(directory / name, name)


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
