"""A stock consumer: sweeps a folder as the batch tools do that know nothing of sftpgate.

It takes the plain files at the top level, and no directories, hidden or ``_`` names. While it works its ``lock.txt`` is
there: it lists, copies each file, and then unlinks its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class StockConsumer:
    """Sweeps ``folder``; ``taken`` has what it copied, by name and in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: list[tuple[str, bytes]] = []

    @property
    def contents(self) -> list[bytes]:
        """What it copied, in order."""
        return [content for _, content in self.taken]

    def steps(self) -> Iterator[str]:
        """One pass, with a stop after each of its acts; each is named."""
        lock = self.folder / "lock.txt"
        lock.touch()
        yield "locked"
        names = sorted(
            path.name for path in self.folder.iterdir() if path.is_file() and path.name[0] not in "._" and "lock" not in path.name
        )
        yield "listed"
        for name in names:
            try:
                content = (self.folder / name).read_bytes()
            except FileNotFoundError:
                continue
            self.taken.append((name, content))
            yield "copied"
            (self.folder / name).unlink(missing_ok=True)
            yield "unlinked"
        lock.unlink()

    def sweep(self) -> None:
        """One pass, at once."""
        for _ in self.steps():
            pass
