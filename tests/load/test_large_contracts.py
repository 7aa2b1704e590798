"""Files that are made to hurt, at their full size: each has a verdict, with the sentence, in bounded memory and time.

Each is judged by the process that a server has for that. Seconds are printed besides.
"""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from sftpgate.contracts import guard_process
from sftpgate.contracts.judges import Judges
from sftpgate.settings.contracts import ContractSettings

pytestmark = pytest.mark.timeout(600)

GIB = 1024**3
HEADER = b"cmd;cid;uid\n"
ROW = b"add;C1;u%09d\n"
CONTRACT: dict[str, Any] = {"header": ["cmd", "cid", "uid"], "key": ["cid", "uid"]}


def sparse(file: BinaryIO) -> None:
    """4 GiB that are nothing."""
    file.write(HEADER)
    file.truncate(4 * GIB)


def one_line(file: BinaryIO) -> None:
    """A line of 1 GiB."""
    file.write(HEADER)
    for _ in range(1024):
        file.write(b"x" * 1024**2)


def columns(file: BinaryIO) -> None:
    """A million columns."""
    file.write(b";" * 1_000_000 + b"\n")


def wide_rows(file: BinaryIO) -> None:
    """Rows of a million fields each."""
    file.write(HEADER)
    for _ in range(1000):
        file.write(b";" * 1_000_000 + b"\n")


def open_quote(file: BinaryIO) -> None:
    """A quote that never closes, before 200 MB of rows."""
    file.write(HEADER + b'add;"C1;u0\n')
    for number in range(12_000_000):
        file.write(ROW % number)


def bomb(file: BinaryIO) -> None:
    """Some MB that unpack to 5 GiB of rows."""
    _packed(file, (b"x" * 1017 + b";C1;u1\n") * 1024)


def bomb_of_lines(file: BinaryIO) -> None:
    """Some MB that unpack to five thousand million lines."""
    _packed(file, b"\n" * 1024**2)


def _packed(file: BinaryIO, piece: bytes) -> None:
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=9) as packed:
        packed.write(HEADER)
        for _ in range(5 * 1024):
            packed.write(piece)


def too_many_rows(file: BinaryIO) -> None:
    """Twenty-five million good rows."""
    file.write(HEADER)
    for start in range(0, 25_000_000, 10_000):
        file.write(b"".join(ROW % number for number in range(start, start + 10_000)))


@pytest.mark.parametrize(
    ("make", "code", "contract"),
    [
        pytest.param(sparse, "text.line_length", {}, marks=pytest.mark.long),
        (one_line, "text.line_length", {}),
        (columns, "table.fields", {}),
        pytest.param(wide_rows, "table.fields", {}, marks=pytest.mark.long),
        (open_quote, "table.quote_open", {}),
        pytest.param(bomb, "kind.too_large", {"format": "gzip"}, marks=pytest.mark.long),
        (bomb_of_lines, "amounts.too_many", {"format": "gzip"}),
        pytest.param(too_many_rows, "amounts.too_many", {}, marks=pytest.mark.long),
    ],
)
def test_a_file_that_is_made_to_hurt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[BinaryIO], None], code: str, contract: dict[str, Any]
) -> None:
    """It is held, for what is wrong with it, and its judge comes to its end."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        make(file)
    rules = ContractSettings.model_validate(CONTRACT | contract)
    judges, fd = Judges(), os.open(path, os.O_RDONLY)
    now = datetime.now(UTC).isoformat()
    try:
        begin = time.monotonic()
        answer = judges.ask(
            {"contract": rules.model_dump(mode="json"), "processed": [], "now": now}, {"content": fd}, seconds=300
        )
        print(f"{make.__name__}: {time.monotonic() - begin:.1f} s, {[each.sentence()[:80] for each in answer.objections]}")
    finally:
        os.close(fd)
        judges.stop()
        path.unlink()
    assert code in [each.code for each in answer.objections]
    assert guard_process.MEMORY_BYTES == 2 * GIB  # what a judge may have at most
