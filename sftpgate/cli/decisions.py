"""What an admin decides about one file: to release it, or to discard it; and what lies in quarantine for such a decision.

Imports what it works with: the commands import it when they run.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

import typer

from sftpgate.cli.compose import System
from sftpgate.cli.output import emit_record, jsonable, shown
from sftpgate.errors import Refused, UnknownArrival
from sftpgate.intake import deposits
from sftpgate.intake.changes import Change
from sftpgate.intake.placing import Placer
from sftpgate.ledger import arrivals as records
from sftpgate.ledger import claims, overview, reports, runs
from sftpgate.ledger.actor import command
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.endings import Ending
from sftpgate.runners.holding import make_claims
from sftpgate.runners.notices import Notices

Decision = Callable[[Change, Placer, Arrival], Arrival]


def is_claim(system: System, identifier: str) -> bool:
    """Whether somebody holds a claim of this name."""
    with system.ledger.reading() as connection:
        return claims.by_token(connection, identifier) is not None


def release_claim(system: System, token: str) -> Arrival:
    """Give a claimed file back unused. Raises ClaimLost."""
    held = make_claims(system)
    return held.end(held.find(token), Ending(outcome=RunOutcome.RELEASED)).arrival


def release_arrival(system: System, identifier: str, *, only: ArrivalState | None = None) -> Arrival:
    """Let a held or quarantined file into the store. Raises Refused where its state is another one, or not ``only``."""
    return _decide(system, _find(system, identifier), partial(deposits.release, actor=command()), only)


def discard(system: System, identifier: str, *, only: ArrivalState | None = None) -> Arrival:
    """Remove a file that no runner has, and tell its sender. Raises Refused where it is not in the state ``only``."""
    found = _find(system, identifier)
    notices = Notices(system.moves, batch_lock_name=system.settings.batch_lock_name)
    with notices.removal(found) as report:

        def removed(change: Change, placer: Placer, item: Arrival) -> Arrival:
            gone = deposits.discard(change, placer, item, actor=command())
            notices.publish_removal(change, gone, report)
            return gone

        return _decide(system, found, removed, only)


def _find(system: System, identifier: str) -> Arrival:
    with system.ledger.reading() as connection:
        try:
            return overview.by_prefix(connection, identifier)
        except UnknownArrival as error:
            raise UnknownArrival(f"there is no claim or arrival {identifier} (`sftpgate arrivals` lists those)") from error


def _decide(system: System, found: Arrival, decision: Decision, only: ArrivalState | None) -> Arrival:
    with system.moves.change() as change:
        item = change.get(found.id)
        if only is not None and item.state is not only:
            raise Refused(f"arrival {item.id} is {item.state}, not {only}: see `sftpgate show {item.id}`")
        decided = decision(change, system.placer, item)
    if decided.id in change.failures:
        raise change.failures[decided.id]
    return decided


def say(item: Arrival, row: dict[str, object], *, json: bool) -> None:
    """Say what became of a file."""
    if json:
        emit_record(row, json=True)
    else:
        typer.echo(f"{shown(item.path)} is {item.state} (arrival {item.id})")


def quarantined(system: System) -> list[dict[str, object]]:
    """What lies in quarantine, the oldest first: which tool failed on it, how, and where the report is."""
    rows: list[dict[str, object]] = []
    with system.ledger.reading() as connection:
        for item in records.find(connection, states=[ArrivalState.QUARANTINED]):
            tried = runs.of_arrival(connection, item.id)
            last = tried[-1] if tried else None
            since: datetime = item.changed_at
            rows.append(
                {
                    "since": since,
                    "arrival": item.id,
                    "user": item.owner,
                    "path": item.path,
                    "size_bytes": item.size,
                    "tool": last.tool if last else None,
                    "attempts": item.attempts,
                    "last_outcome": last.outcome if last else None,
                    "exit_status": last.exit_status if last else None,
                    "report": f"reports/{last.report}" if last and last.report else None,
                    "reports": [jsonable(f"reports/{name}") for name in reports.of_arrival(connection, item.id)],
                }
            )
    return rows
