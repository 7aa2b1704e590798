"""What the workloads send: made once from fixed seeds, in a directory that is removed at the end."""

from __future__ import annotations

import random
import shutil
import tempfile
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

MIB = 1024 * 1024
BIG_BYTES = 256 * MIB
MIDDLE_BYTES = 16 * MIB
SMALL_BYTES = 4096
SMALL_FILES = 1000
SESSIONS = 4


class Scratch:
    """Local files to send, and names that were not used before."""

    def __init__(self, scale: float = 1.0) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sftpgate-bench-"))
        self.scale = scale
        self._numbers = count(1)
        self.big = self._file("big.bin", int(BIG_BYTES * scale))
        self.quarter = self._file("quarter.bin", int(BIG_BYTES * scale / SESSIONS))
        self.middle = self._file("middle.bin", MIDDLE_BYTES)
        self.one = self._file("one.csv", SMALL_BYTES)
        self.small = self._tree("small", int(SMALL_FILES * scale))
        self.small_parts = [self._tree(f"small-{part}", int(SMALL_FILES * scale / SESSIONS)) for part in range(SESSIONS)]

    def fresh(self) -> str:
        """A name that was not used before."""
        return f"n{next(self._numbers)}"

    def _file(self, name: str, size: int) -> Path:
        path = self.directory / name
        with path.open("wb") as file:
            source = random.Random(name)
            for start in range(0, size, MIB):
                file.write(source.randbytes(min(MIB, size - start)))
        return path

    def _tree(self, name: str, files: int) -> Path:
        directory = self.directory / name
        directory.mkdir()
        for number in range(files):
            text = random.Random(f"{name}{number}").randbytes(SMALL_BYTES // 2 - 1).hex()
            (directory / f"{number:04}.csv").write_text(text + "\n\n")
        return directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
