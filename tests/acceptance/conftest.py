"""The command line as scripts use it: by subprocess, on a data directory of its own; and senders without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sftpgate.cli.compose import System, build
from sftpgate.intake.publish import Publisher
from sftpgate.intake.uploads import Sender, SessionTrace
from sftpgate.ledger.arrivals import Arrival
from sftpgate.settings import Settings

TIMEOUT_SECONDS = 50

TOOLS = """
[tools.users]
file = "users*.csv"
command = ["cat", "{file}"]

[tools.enrols]
file = "enrols.csv"
arrivals = "queue"
command = ["cat", "{file}"]
"""


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit code."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.raw.decode()

    @property
    def json(self) -> object:
        """Standard output, which must be JSON."""
        return json.loads(self.raw)

    @property
    def rows(self) -> list[dict[str, object]]:
        """Standard output, which must be a list of objects."""
        rows = json.loads(self.raw)
        assert isinstance(rows, list)
        return rows

    @property
    def record(self) -> dict[str, object]:
        """Standard output, which must be one object."""
        record = json.loads(self.raw)
        assert isinstance(record, dict)
        return record


@dataclass
class Cli:
    """Runs ``sftpgate`` in ``directory``, where its settings, data and keys are."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def store(self) -> Path:
        """The store."""
        return self.data / "store"

    @property
    def env(self) -> dict[str, str]:
        """The environment of a command: ours, without any settings but its own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SFTPGATE_", "_SFTPGATE"))}
        return {**inherited, **self.environment}

    def command(self, *arguments: str | bytes) -> list[str | bytes]:
        """The words that run a command."""
        return [sys.executable, "-m", "sftpgate", *arguments]

    def __call__(
        self,
        *arguments: str | bytes,
        text: bytes | str = b"",
        code: int | None = 0,
    ) -> Result:
        """Run a command; it must end with ``code`` (None: any), and say an error in one line."""
        done = subprocess.run(
            self.command(*arguments),
            input=text.encode() if isinstance(text, str) else text,
            capture_output=True,
            cwd=self.directory,
            env=self.env,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        result = Result(done.returncode, done.stdout, done.stderr.decode())
        if code is not None:
            assert result.code == code, result
        if result.code not in (0, 3):
            assert len(result.err.splitlines()) <= 1, result.err
        return result

    def arrivals(self, *options: str) -> list[dict[str, object]]:
        """The record of arrivals, newest first."""
        return self("arrivals", "--json", *options).rows

    def leftovers(self) -> list[Path]:
        """The files in staging."""
        return [path for path in (self.store / ".sftpgate" / "staging").rglob("*") if path.is_file()]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line, with two tools: ``users`` takes the latest file, ``enrols`` every one in order."""
    (tmp_path / "sftpgate.toml").write_text(TOOLS, encoding="utf-8")
    environment = {"SFTPGATE_DATA_DIR": str(tmp_path / "data"), "SFTPGATE_KEYS_DIR": str(tmp_path / "keys")}
    return Cli(tmp_path, environment)


class Senders:
    """Uploads of ERP users, published in this process by the parts that the gateway uses."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._publisher = Publisher(system.moves, system.placer, system.staging)

    def send(self, user: str, path: str, content: bytes, *, client: str = "SSH-2.0-OpenSSH_9.2", writes: int = 1) -> Arrival:
        """One finished upload, in ``writes`` writes of one length."""
        now = datetime.now(UTC)
        sender = Sender(user=user, home="", address="192.0.2.7", login="SHA256:abc", client=client, session=f"{now:%H%M%S%f}")
        upload = self.system.staging.create(sender, path, SessionTrace())
        step = len(content) // writes
        for number in range(writes):
            upload.write(self.system.disk, number * step, content[number * step : (number + 1) * step])
        [outcome] = self._publisher.commit([upload])
        assert isinstance(outcome, Arrival), outcome
        self.system.moves.flush()
        return outcome

    def interrupt(self, user: str, path: str, content: bytes) -> None:
        """An upload that ends without a CLOSE."""
        sender = Sender(user=user, home="", address="192.0.2.7", login="password", client="SSH-2.0-x", session="1")
        upload = self.system.staging.create(sender, path, SessionTrace())
        upload.write(self.system.disk, 0, content)
        self.system.staging.interrupt(upload)


@pytest.fixture
def senders(cli: Cli) -> Iterator[Senders]:
    """Senders to the data directory of ``cli``."""
    settings = Settings(data_dir=cli.data, keys_dir=cli.directory / "keys", tools=tomllib.loads(TOOLS)["tools"])
    system = build(settings)
    try:
        yield Senders(system)
    finally:
        system.close()
