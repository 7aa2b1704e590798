"""What could be expected: tables for sftpgate.toml, proposed from what has come, each with what was seen. Only looks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sftpgate.errors import SettingsError
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.expectations import history
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.pointers import matches
from sftpgate.policy.schedule_proposals import ScheduleProposal, proposals
from sftpgate.schedules import ScheduleUnusable, zone_of
from sftpgate.settings.tree import Settings

MOST_FILES = 50_000  # arrivals that are looked at, the newest
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_ZONES = "zoneinfo/"


def suggest(settings: Settings, ledger: Ledger | None, now: datetime, *, zone: str, days: int) -> list[ScheduleProposal]:
    """Propose what could be expected of files that came in the last ``days`` days, with times in ``zone``. What is expected
    already is left out. Raises SettingsError for an unknown zone, and LedgerError.
    """
    try:
        there = zone_of(zone)
    except ScheduleUnusable as error:
        raise SettingsError(str(error)) from error
    if ledger is None:
        return []
    with ledger.reading() as connection:
        found = history.since(connection, now - timedelta(days=days), limit=MOST_FILES)
    known = [table.path for table in settings.expect.values()]
    came = [
        (item.path, item.received_at.astimezone(there))
        for item in found
        if item.state is not ArrivalState.IGNORED and not any(matches(path, item.path) for path in known)
    ]
    return proposals(came)


def as_toml(proposed: Sequence[ScheduleProposal], zone: str) -> str:
    """Return proposals as tables for sftpgate.toml, with what was seen as comments."""
    names: set[str] = set()
    return "\n".join(_table(each, zone, _name(each.path, names)) for each in proposed)


def local_zone() -> str:
    """Return the name of this machine's time zone; UTC if it has none that can be named."""
    named = os.environ.get("TZ", "").removeprefix(":")
    try:
        named = named or str(Path("/etc/localtime").readlink()).rpartition(_ZONES)[2]
        zone_of(named)
    except (OSError, ScheduleUnusable):
        return "UTC"
    return named


def _name(path: str, taken: set[str]) -> str:
    stem = path.rpartition("/")[2].partition(".")[0].strip("*?-_") or "file"
    plain = "".join(c if c in _NAME_CHARACTERS else "-" for c in stem)[:50].strip("-_") or "file"
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name)
    return name


def _table(proposal: ScheduleProposal, zone: str, name: str) -> str:
    seen = f"# seen: {proposal.files} files of {_quoted(proposal.path)} from {proposal.first} to {proposal.last}"
    if not proposal.by:
        return f"{seen}: {proposal.because}\n"
    lines = [seen, *(f"#   {line}: {text}" for line, text in zip(proposal.by, proposal.seen, strict=True))]
    if proposal.without:
        lines.append(f"#   none on {', '.join(proposal.without[:10])}{', …' if len(proposal.without) > 10 else ''}")
    by = [_quoted(line) for line in proposal.by]
    lines += [
        f"[expect.{name}]",
        f"path = {_quoted(proposal.path)}",
        f"by = {by[0] if len(by) == 1 else '[' + ', '.join(by) + ']'}",
        f"timezone = {_quoted(zone)}",
        f'window = "{proposal.window_minutes}m"',
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a text as TOML has it."""
    from json import dumps

    return dumps(text, ensure_ascii=False)
