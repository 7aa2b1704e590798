"""Contracts of tools: a file held against one, the archives replayed against one, and one proposed from the archives.

Each use case takes settings and plain values, and returns records. They only look: nothing is held, released or written. Reading
files blocks, for about a second for a million rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sftpgate.app.context import ledger_for_reading
from sftpgate.contracts.judge import ContractVerdict, History, Processed, judge
from sftpgate.contracts.learn import Proposal, learn
from sftpgate.errors import NotFound, Refused, SettingsError, UnknownTool
from sftpgate.ledger import runs
from sftpgate.ledger.runs import HISTORY_FILES, ProcessedFile
from sftpgate.policy.locations import Location
from sftpgate.settings.contracts import ContractSettings
from sftpgate.settings.tree import Settings
from sftpgate.store.layout import Layout

Progress = Callable[[int, int], None]


def _silent(_done: int, _of: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a contract says of a file that the tool has processed, as if it came now."""

    file: ProcessedFile
    verdict: ContractVerdict


def contract_of(settings: Settings, tool: str) -> ContractSettings:
    """Return the contract of a tool. Raises UnknownTool, and SettingsError if it has none."""
    if tool not in settings.tools:
        raise UnknownTool(f"there is no tool {tool} in the settings (`sftpgate tool list`)")
    contract = settings.tools[tool].contract
    if contract is None:
        raise SettingsError(f"tools.{tool} has no contract: `sftpgate contract learn {tool}` proposes one")
    return contract


def check(settings: Settings, tool: str, file: Path, *, against: Path | None = None) -> ContractVerdict:
    """Hold ``file`` against the contract of ``tool`` and what the tool processed last, or against the file ``against`` instead.

    Raises UnknownTool, SettingsError, LedgerError, and NotFound for a file that cannot be read.
    """
    contract = contract_of(settings, tool)
    history = _history(settings, processed(settings, tool))
    if against is not None:
        history = History(open_last=partial(open_file, against))
    with open_file(file) as content:
        return judge(content, contract, history, now=datetime.now(UTC))


def backtest(settings: Settings, tool: str, progress: Progress = _silent) -> Iterator[Replay]:
    """Replay what ``tool`` processed and the archives still have, the oldest first, each against those before it. ``progress`` is
    told how many files of how many were looked at.

    Raises UnknownTool, SettingsError, LedgerError.
    """
    contract = contract_of(settings, tool)
    files = processed(settings, tool)
    for place in reversed(range(len(files))):
        file = files[place]
        progress(len(files) - place, len(files))
        opened = opener(settings, file.location)
        if opened is None:
            continue
        with opened() as content:
            yield Replay(file=file, verdict=judge(content, contract, _history(settings, files[place + 1 :]), now=file.at))


def propose(settings: Settings, tool: str, progress: Progress = _silent, *, most: int = 50) -> Proposal:
    """Propose a contract from the latest files that ``tool`` processed, at most ``most`` of them. ``progress`` is told how many
    readings of files are done, of how many that there are now: there are more, if several columns may be the key.

    Raises UnknownTool, LedgerError, and Refused if there are too few files, or they are no tables.
    """
    if tool not in settings.tools:
        raise UnknownTool(f"there is no tool {tool} in the settings (`sftpgate tool list`)")
    found = [opened for file in processed(settings, tool) if (opened := opener(settings, file.location)) is not None][:most]
    if not found:
        raise Refused(f"there is nothing to learn from: no file that {tool} processed is in the archives")
    proposal = learn(found, tool, progress)
    if proposal is None:
        raise Refused(
            f"the files that {tool} processed are no tables with a header: write the contract by hand (docs/contracts.md)"
        )
    return proposal


def processed(settings: Settings, tool: str) -> list[ProcessedFile]:
    """Return what a tool has processed, the latest first. Raises LedgerError."""
    with ledger_for_reading(settings) as ledger:
        if ledger is None:
            return []
        with ledger.reading() as connection:
            return runs.processed_by(connection, tool, HISTORY_FILES)


def _history(settings: Settings, files: Sequence[ProcessedFile]) -> History:
    opened = opener(settings, files[0].location) if files else None
    return History(open_last=opened, processed=[Processed(sha256=file.sha256, at=file.at) for file in files])


def opener(settings: Settings, location: str | None) -> Callable[[], BinaryIO] | None:
    """Return what opens a file by its location in the ledger; None if it is not there, or not kept any more."""
    if location is None:
        return None
    path = Layout(settings.store, settings.drop).disk_path(Location(location)).local
    return partial(open_file, path) if path.is_file() else None


def open_file(path: Path) -> BinaryIO:
    """Return a file of this machine, opened for reading. Raises NotFound."""
    try:
        if not path.is_file():
            raise NotFound(f"{path}: there is no such file")
        return path.open("rb")
    except OSError as error:
        raise NotFound(f"{path}: cannot be read: {error.strerror}") from error
