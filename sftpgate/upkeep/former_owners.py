"""Parting what a former user sent from a new user of the same name.

One change: the records go on under a name that no user can have (``ledger/owners.py``), and so do the notes beside files
that are named by their id, from which a lost ledger is made anew. Interrupted uploads are removed: nobody is left who could
resume them. Files stay where they are, and tools take what waits.

A crash before the commit leaves everything as it was, one after it a note that still has the former name: it counts only
if the ledger is lost too. Everything blocks.
"""

from __future__ import annotations

from sftpgate.handover.journal import Journal
from sftpgate.ledger import arrivals, owners
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import area_of
from sftpgate.uploads.staging import Staging

_NAMED_BY_ID = (Area.HELD, Area.QUEUE, Area.CLAIMS, Area.QUARANTINE, Area.LOCKS)


def part(journal: Journal, staging: Staging, user: str) -> tuple[str | None, int]:
    """Part what is recorded as ``user``'s from whoever has the name from now on. Returns the name under which it is recorded
    then (None: there was nothing), and how many interrupted uploads were removed.
    """
    former = None
    journal.flush_names()
    with journal.change() as change:  # which has made all moves that were cut off: none depends on the name any more
        if not owners.estate_of(change.connection, user).is_empty:
            former = owners.next_former(change.connection, user)
        owners.hand_on(change.connection, user, former or owners.next_former(change.connection, user))
        rows = arrivals.find(change.connection, live=True, owner=former) if former is not None else []
        for row in rows:
            if row.location is not None and area_of(row.location) in _NAMED_BY_ID:
                journal.files.write_note(row)
    notes = staging.notes(user)
    idle = [name for name, _ in staging.idle_files(user)] if user in staging.users() else []
    return former, sum(staging.remove_idle(user, name, notes.get(name, ())) for name in idle)
