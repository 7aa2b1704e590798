"""A contract proposed from files that a tool has processed, with what was seen in them as comments.

What the files have in common becomes a rule, what differs between two of them becomes a bound with a margin. It is a proposal: an
admin reads it, tries it on the archives (``backtest``) and then writes it into the settings. Blocks; reads each file some times.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from sftpgate.contracts.difference import Counts, compare, first_doubled
from sftpgate.contracts.judge import read_rows
from sftpgate.contracts.table import Rows
from sftpgate.settings.contracts import ContractSettings

Open = Callable[[], BinaryIO]
Progress = Callable[[int, int], None]

_DELIMITERS = ";,\t|"
_KEY_ROWS = 200_000  # rows of one file that are looked at for a key
_MOST_KEY_COLUMNS = 3
_COLUMNS_TRIED = 12
_MARGIN = 2.0  # a bound is so many times what was seen
_LEAST_PERCENT = 10
_STEP_PERCENT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A contract, and the text of its table with comments."""

    contract: ContractSettings
    text: str


def learn(files: Sequence[Open], tool: str, progress: Progress) -> Proposal | None:
    """Propose a contract from ``files``, the latest first; None if the latest is no table that can be read.

    Each of ``files`` opens one. ``progress`` is told how many readings are done, of how many. Raises OSError.
    """
    files = _counted(files, progress)
    encoding = _encoding(files)
    delimiter = _delimiter(files[0], encoding)
    headers = [header for file in files if (header := _header(file, encoding, delimiter))]
    if not headers or delimiter is None:
        return None
    latest = headers[0]
    columns = [name for name in latest if all(name in header for header in headers)]
    optional = list(dict.fromkeys(name for header in headers for name in header if name not in columns))
    if not columns or len(set(latest)) < len(latest) or "" in latest:
        return None
    bom = any(_starts_with_mark(file) for file in files)
    values: dict[str, object] = {
        "encoding": encoding,
        "bom": bom,
        "delimiter": delimiter,
        "header": columns,
        "optional": optional,
    }
    key = _key(files, columns, ContractSettings.model_validate(values))
    contract = ContractSettings.model_validate({**values, "key": key})
    read = [(rows, verdict_rows) for rows, verdict_rows in _read_all(files, contract) if rows is not None]
    counts = [count for _, count in read]
    differences = [compare(old[0], new[0]).whole for new, old in itertools.pairwise(read)] if key else []
    bounds = {f"max_{kind}": _bound(differences, kind) for kind in ("removed", "added", "changed")} if differences else {}
    least = max(1, math.floor(min(counts, default=2) / _MARGIN))
    contract = ContractSettings.model_validate({**values, "key": key, "min_rows": least, **bounds})
    return Proposal(contract=contract, text=_text(tool, contract, counts, differences, headers))


def _counted(files: Sequence[Open], progress: Progress) -> list[Open]:
    """Return what opens the same files, and counts. Each is read for its encoding, header and mark, for its key and its rows, and
    once more for each further choice of key columns.
    """
    done, planned = 0, 5 * len(files)

    def counted(opened: Open) -> BinaryIO:
        nonlocal done, planned
        done += 1
        planned = max(planned, done)
        progress(done, planned)
        return opened()

    return [partial(counted, file) for file in files]


def _encoding(files: Sequence[Open]) -> str:
    """Return UTF-8 if all files are, else cp1252: every byte means something there but five."""
    for file in files:
        with file() as content:
            try:
                for _ in io.TextIOWrapper(content, encoding="utf-8", newline=""):
                    pass
            except UnicodeDecodeError:
                return "cp1252"
    return "utf-8"


def _delimiter(file: Open, encoding: str) -> str | None:
    """Return the delimiter by which the first rows have the same number of fields, more than one; the one with the most
    fields.
    """
    with file() as content:
        lines = list(itertools.islice(io.TextIOWrapper(content, encoding=encoding, newline="", errors="replace"), 50))
    best: tuple[int, str] | None = None
    for delimiter in _DELIMITERS:
        widths = {len(row) for row in csv.reader(lines, delimiter=delimiter) if row}
        if len(widths) == 1 and (width := widths.pop()) > 1 and (best is None or width > best[0]):
            best = (width, delimiter)
    return best[1] if best else None


def _header(file: Open, encoding: str, delimiter: str | None) -> list[str]:
    with file() as content:
        text = io.TextIOWrapper(content, encoding=encoding, newline="", errors="replace")
        row = next(csv.reader(text, delimiter=delimiter or ";"), [])
    return [name.lstrip("\ufeff").strip() for name in row]


def _starts_with_mark(file: Open) -> bool:
    with file() as content:
        return content.read(3) == b"\xef\xbb\xbf"


def _key(files: Sequence[Open], columns: Sequence[str], contract: ContractSettings) -> list[str]:
    """Return the fewest columns whose values are there once in each file; none if there are none of up to three columns."""
    with files[0]() as content:
        text = io.TextIOWrapper(content, encoding=contract.encoding, newline="", errors="replace")
        reader = csv.reader(text, delimiter=contract.delimiter)
        header = [name.lstrip("\ufeff").strip() for name in next(reader)]
        rows = [row for row in itertools.islice(reader, _KEY_ROWS) if len(row) == len(header)]
    if len(rows) < 2:
        return []
    usable = [name for name in columns[:_COLUMNS_TRIED] if all(row[header.index(name)] for row in rows)]
    for size in range(1, _MOST_KEY_COLUMNS + 1):
        for names in itertools.combinations(usable, size):
            places = [header.index(name) for name in names]
            if len({tuple(row[place] for place in places) for row in rows}) == len(rows) and _is_key(files, names, contract):
                return list(names)
    return []


def _is_key(files: Sequence[Open], names: Sequence[str], contract: ContractSettings) -> bool:
    keyed = contract.model_copy(update={"key": tuple(names)})
    for file in files:
        with file() as content:
            rows = read_rows(content, keyed)
        if rows is not None and first_doubled(rows) is not None:
            return False
    return True


def _read_all(files: Sequence[Open], contract: ContractSettings) -> Iterator[tuple[Rows | None, int]]:
    for file in files:
        with file() as content:
            rows = read_rows(content, contract)
            yield rows, len(rows) if rows is not None else 0


def _bound(differences: Sequence[Counts], kind: str) -> str:
    seen = max((100 * getattr(each, kind) / each.of for each in differences if each.of), default=0.0)
    percent = max(_LEAST_PERCENT, math.ceil(_MARGIN * seen / _STEP_PERCENT) * _STEP_PERCENT)
    return f"{min(100, percent)}%"


def _text(
    tool: str, contract: ContractSettings, counts: Sequence[int], differences: Sequence[Counts], headers: Sequence[Sequence[str]]
) -> str:
    def quoted(value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
        return f'"{escaped}"'

    def listed(values: Sequence[str]) -> str:
        return f"[{', '.join(map(quoted, values))}]"

    lines = [
        f"[tools.{tool}.contract]",
        f"# learnt from {len(headers)} file{'' if len(headers) == 1 else 's'} that {tool} processed",
        f"encoding = {quoted(contract.encoding)}",
        *(["bom = true  # some files begin with a byte order mark"] if contract.bom else []),
        f"delimiter = {quoted(contract.delimiter)}",
        f"header = {listed(contract.header)}",
        *([f"optional = {listed(contract.optional)}  # not in every file"] if contract.optional else []),
        (f"key = {listed(contract.key)}  # each value was there once in every file")
        if contract.key
        else "# key: no one, two or three columns name each row once; without it no change can be bounded",
    ]
    if counts:
        lines.append(f"min_rows = {contract.min_rows}  # seen: {min(counts)} to {max(counts)} rows")
    for kind in ("removed", "added", "changed"):
        if differences:
            seen = max((100 * getattr(each, kind) / each.of for each in differences if each.of), default=0.0)
            bound = getattr(contract, f"max_{kind}")
            lines.append(f'max_{kind} = "{bound}"  # seen: at most {seen:.1f}% from one file to the next')
    return "\n".join(lines) + "\n"
