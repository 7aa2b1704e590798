"""What a removed user leaves, and what a new user of its name must not see: said, and parted.

Imports what it works with: the commands import it when they run.
"""

from __future__ import annotations

from sftpgate.cli.context import ledger_for_reading, opened
from sftpgate.ledger import chain, owners
from sftpgate.ledger.owners import Estate
from sftpgate.settings import Settings


def estate(settings: Settings, user: str) -> Estate:
    """What is recorded as a user's; nothing before the first start. Raises LedgerError."""
    with ledger_for_reading(settings) as ledger:
        if ledger is None:
            return Estate()
        with ledger.reading() as connection:
            return owners.estate_of(connection, user) if chain.is_there(connection) else Estate()


def has_anything(settings: Settings, user: str) -> bool:
    """Whether a new user of this name would find something of a former one. Raises LedgerError."""
    return not estate(settings, user).is_empty or (settings.store / ".sftpgate" / "staging" / user).is_dir()


def part(settings: Settings, user: str) -> list[str]:
    """Part what is recorded as ``user``'s from whoever has the name from now on; returns what was done, in sentences."""
    from sftpgate.intake import owners as parting

    if not has_anything(settings, user):
        return []
    with opened(settings) as system:
        former, removed = parting.part(system.moves, system.staging, user)
    said = [f"what {user} has sent is recorded as {former}'s: no user of the name {user} sees it"] if former else []
    return said + ([f"{removed} interrupted uploads removed"] if removed else [])


def describe(found: Estate) -> list[str]:
    """What becomes of what a user has sent, in sentences."""
    said = []
    if found.waiting:
        said.append(f"{_files(found.waiting)} waiting for a tool: it takes them as before (`sftpgate discard` removes one)")
    if found.held:
        said.append(f"{_files(found.held)} held or set aside: `sftpgate status` lists what is held, release or discard it")
    if found.processing:
        said.append(f"{_files(found.processing)} being processed: this goes on")
    if found.quarantined:
        said.append(f"{_files(found.quarantined)} in quarantine: release or discard them")
    if found.archived or found.reports:
        said.append(f"{_files(found.archived)} in archives and {found.reports} in reports: they are kept as the settings say")
    return said


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
