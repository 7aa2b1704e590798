"""The command line as scripts use it, on a data directory of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.commands import TIMEOUT_SECONDS, clean_environment, run, sftpgate

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
        return clean_environment() | self.environment

    def command(self, *arguments: str | bytes) -> list[str | bytes]:
        """The words that run a command."""
        return sftpgate(*arguments)

    def __call__(
        self,
        *arguments: str | bytes,
        text: bytes | str = b"",
        code: int | None = 0,
    ) -> Result:
        """Run a command; it must end with ``code`` (None: any), and say an error in one line."""
        done = run(
            *arguments,
            text=text.encode() if isinstance(text, str) else text,
            env=self.env,
            cwd=self.directory,
            timeout=TIMEOUT_SECONDS,
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
