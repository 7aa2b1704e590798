"""A PostgreSQL server of the tests' own, from Debian's package: on a socket in a temporary directory, and gone at the end.

Its databases sort as English does, and not byte by byte as SQLite does, so that what relies on the order is found out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

WAIT_SECONDS = 60.0


def programs() -> Path | None:
    """The directory of the server's programs, or None where they are not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


class PostgreSQL:
    """A server that can be stopped, crash, and started again. Run as nobody where we are root: it refuses root."""

    def __init__(self, bin_dir: Path) -> None:
        self._bin = bin_dir
        self._count = 0
        self.directory = Path(tempfile.mkdtemp(prefix="sftpgate-postgresql-"))
        self._user: dict[str, str | int] = {"user": "nobody", "group": 65534} if os.geteuid() == 0 else {}
        if self._user:
            shutil.chown(self.directory, "nobody", 65534)
        words = [f"--pgdata={self.directory}/data", "--username=sftpgate", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        self._run("initdb", *words, "--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8")

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._bin / program, *words],
            capture_output=True,
            text=True,
            cwd=self.directory,
            timeout=WAIT_SECONDS,
            check=False,
            **self._user,  # type: ignore[call-overload]  # user and group, or neither
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        """Start; returns when it accepts connections."""
        options = f"-k {self.directory} -c listen_addresses='' -c fsync=off -c full_page_writes=off"
        log, data = f"{self.directory}/log", f"{self.directory}/data"
        self._run("pg_ctl", "start", "-w", "-s", "-D", data, "-l", log, "-o", options)

    def stop(self) -> None:
        """Stop at once, in order."""
        self._run("pg_ctl", "stop", "-w", "-s", "-m", "fast", "-D", f"{self.directory}/data")

    def crash(self) -> None:
        """End at once, as a crash does: nothing is written, and the next start recovers."""
        self._run("pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", f"{self.directory}/data")

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        self._count += 1
        name = f"ledger{os.getpid()}_{self._count}"
        with psycopg.connect(f"host={self.directory} user=sftpgate dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://sftpgate@/{name}?host={self.directory}"

    def remove(self) -> None:
        """Stop it, and leave nothing."""
        if (self.directory / "data/postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
