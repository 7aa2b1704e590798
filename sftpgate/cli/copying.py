"""What ``sftpgate store put -r`` and ``get -r`` say while they copy: what is left out, and on a terminal how far they are."""

from __future__ import annotations

import sys

import typer

from sftpgate.app.depot.trees import Tally
from sftpgate.logs import printable


class ShownTally(Tally):
    """Shows what was copied, and says what was left out. ``verb``: what is done to files."""

    def __init__(self, verb: str) -> None:
        super().__init__()
        self._verb = verb
        self._shows = sys.stderr.isatty()

    def copied(self, size_bytes: int) -> None:
        """Count one more file, and show how many there are."""
        super().copied(size_bytes)
        if self._shows:
            typer.echo(f"\r{self}\033[K", nl=False, err=True)

    def leave_out(self, name: str, why: str) -> None:
        """Say that something was left out."""
        super().leave_out(name, why)
        self.clear()
        typer.echo(f"sftpgate: {printable(name)} is left out: {why}", err=True)

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self._shows:
            typer.echo("\r\033[K", nl=False, err=True)

    def __str__(self) -> str:
        said = f"{self.files} files {self._verb}, {self.size_bytes} bytes"
        return f"{said}; {self.left_out} left out" if self.left_out else said
