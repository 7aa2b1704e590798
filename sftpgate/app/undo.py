"""Undoing what a run did: a file that puts back what another one took away, held until people approve it, never run by itself."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from sftpgate.app.contracts import contract_of, opener
from sftpgate.app.depot.changes import make_deposits
from sftpgate.contracts import undo as making
from sftpgate.contracts.row_changes import NotComparable, Open
from sftpgate.contracts.undo import Inverse
from sftpgate.depot.depot import depot_path
from sftpgate.errors import NotFound, Refused
from sftpgate.ledger import overview, runs
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.contracts import undos
from sftpgate.ledger.runs import HISTORY_FILES, ProcessedFile
from sftpgate.policy.lifecycle import LIVE_STATES, ArrivalState
from sftpgate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """The file that undoes a run: its arrival, what it undoes, and what is in it."""

    arrival: Arrival
    undone: Arrival
    tool: str
    inverse: Inverse


def inverse(site: Site, identifier: str) -> tuple[Arrival, str, Inverse]:
    """Return the processed arrival whose id begins so, its tool, and the file that undoes what it did. Only looks.

    Raises UnknownArrival, NotFound if a file is not kept any more, SettingsError if the tool has no contract, and Refused if no
    tool has processed the file, or what it did cannot be undone by a file.
    """
    item, tool, files = _found(site, identifier)
    contract = contract_of(site.settings, tool)
    place = next(place for place, file in enumerate(files) if file.arrival == item.id)
    before = files[place + 1] if place + 1 < len(files) else None
    latest = files[0] if place else None
    opened = [None if file is None else _opened(site, file) for file in (before, files[place], latest)]
    assert opened[1] is not None
    try:
        return item, tool, making.inverse(opened[0], opened[1], opened[2], contract)
    except NotComparable as error:
        raise Refused(f"what arrival {item.id} did cannot be undone by a file: {error}") from error


def propose(site: Site, actor: Actor, identifier: str) -> Undone:
    """Make the file that undoes what a processed file did an arrival, which is held until people approve it.

    Raises as ``inverse``, and Refused if there is such a file already.
    """
    item, tool, made = inverse(site, identifier)
    with site.ledger.reading() as connection:
        other = undos.of(connection, item.id, states=LIVE_STATES | {ArrivalState.DONE})
    if other is not None:
        raise Refused(f"arrival {other} undoes this one already: see `sftpgate show {other}`")
    if not made.rows and made.is_commands:
        raise Refused(f"there is nothing to undo: what arrival {item.id} did was changed since, or no template speaks of it")
    deposits = make_deposits(site, actor)
    held = deposits.put_to_undo(io.BytesIO(made.content), depot_path(item.path), item.id, is_commands=made.is_commands)
    return Undone(arrival=held, undone=item, tool=tool, inverse=made)


def _found(site: Site, identifier: str) -> tuple[Arrival, str, Sequence[ProcessedFile]]:
    with site.ledger.reading() as connection:
        item = overview.by_prefix(connection, identifier)
        for run in reversed(runs.of_arrival(connection, item.id)):
            files = runs.processed_by(connection, run.tool, HISTORY_FILES, with_undone=True)
            if any(file.arrival == item.id for file in files):
                return item, run.tool, files
    raise Refused(f"arrival {item.id} is {item.state}: only what a tool has processed can be undone")


def _opened(site: Site, file: ProcessedFile) -> Open:
    found = opener(site.settings, file.location)
    if found is None:
        raise NotFound(
            f"the file of arrival {file.arrival} is not kept any more (keep_archives): nothing can be put back from it"
        )
    return found
