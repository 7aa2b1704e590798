"""What a scenario may ask of a client: steps, which each driver translates. Imported as ``do``: ``do.Put(…)``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Put:
    """Upload one file; with ``resume``, go on where an interrupted upload ended; with ``append``, at the end of another one."""

    local: Path
    remote: str
    preserve: bool = False
    resume: bool = False
    append: bool = False


@dataclass(frozen=True, slots=True)
class PutAll:
    """Upload every file of a local directory into the start directory, in one session."""

    directory: Path

    def files(self) -> list[Path]:
        """The files, in the order of their names."""
        return sorted(self.directory.iterdir())


@dataclass(frozen=True, slots=True)
class Get:
    """Download one file."""

    remote: str
    local: Path


@dataclass(frozen=True, slots=True)
class Stat:
    """Show the size of one file."""

    remote: str


@dataclass(frozen=True, slots=True)
class List:
    """Show the names in the start directory."""


@dataclass(frozen=True, slots=True)
class Rename:
    """Give a file another name."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file."""

    remote: str


@dataclass(frozen=True, slots=True)
class Mkdir:
    """Make a directory."""

    remote: str


Step = Put | PutAll | Get | Stat | List | Rename | Remove | Mkdir
