"""The record of who did what: to search it, to note its end, and to put acts on it that write no events by themselves.

What is done to arrivals, claims and runs writes its events where it happens. Users, keys, bans and settings are files and rows
without events of their own. A command is put on the record as such, with its words (``cli/command_record.py``); what a page or a
program asks for is put there by the use case, with ``record_act``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from sftpgate.errors import LedgerError
from sftpgate.handover.identity.gate_memory import remembered
from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.actor import Actor, Role
from sftpgate.ledger.audit.event_log import Detail, Event, Record, Wanted
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.settings.tree import Settings


@contextlib.contextmanager
def search(ledger: Ledger | None, wanted: Wanted, *, last: int | None = None) -> Iterator[Iterable[Record]]:
    """Yield the records that fit, the oldest first, read as they are asked for; with ``last``, only so many, the newest.

    ``ledger`` is None before the first start. Raises LedgerError if the ledger is of a version without a record.
    """
    if ledger is None:
        yield []
        return
    with ledger.reading() as connection:
        _require_record(connection)
        yield event_log.search(connection, wanted, last=last)


def head(ledger: Ledger) -> tuple[int, str]:
    """Return number and hash of the last record: noted elsewhere, they show later that nothing before them was changed.

    Raises LedgerError if the ledger is of a version without a record.
    """
    with ledger.reading() as connection:
        _require_record(connection)
        ends = chain.ends(connection)
        return ends.head_seq, ends.head_hash


def put_on_record(
    ledger: Ledger, actor: Actor, event: str, details: Mapping[str, Detail], *, at: datetime, keys: Path, may_begin: bool = True
) -> None:
    """Write that ``actor`` has done something.

    Before the first start this makes the ledger, if ``may_begin`` and if the server could write to it then. Otherwise there is
    no record yet, and nothing is written. A ledger of an earlier version is upgraded. Raises LedgerError if there is no ledger,
    and the keys remember a gate that had one; and if the ledger is of a later version.
    """
    is_made = ledger.is_made()
    if not is_made:
        if not may_begin or not _server_could_write(ledger):
            return
        if remembered(keys) is not None:
            raise LedgerError(
                "there is no ledger, and the keys are those of a gate in use: is the filesystem of the data mounted?"
            )
    if not is_made or not ledger.is_current():
        ledger.create()
    with ledger.transaction() as connection:
        event_log.record(connection, [Event(at=at, event=event, actor=actor, details=dict(details))])


def record_act(settings: Settings, actor: Actor, event: str, **details: Detail) -> None:
    """Write that ``actor`` has changed something that has no events of its own; nothing for a command, which is recorded as such.

    Raises LedgerError: what was changed stands all the same.
    """
    if actor.role is Role.COMMAND:
        return
    ledger = Ledger(settings.ledger)
    try:
        put_on_record(ledger, actor, event, details, at=datetime.now(UTC), keys=settings.keys_dir)
    finally:
        ledger.close()


def _require_record(connection: Connection) -> None:
    if not chain.is_there(connection):
        raise LedgerError("the ledger is of an earlier version: the next start of the server upgrades it")


def _server_could_write(ledger: Ledger) -> bool:
    """Return whether a ledger that we make is the server's: not a file of root's in a directory that root makes too."""
    return ledger.file is None or os.geteuid() != 0 or ledger.file.parent.is_dir()
