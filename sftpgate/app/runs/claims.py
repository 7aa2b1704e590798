"""Claims by hand: to take, extend, end and give back the file of a tool. Any face may call these; each call is complete.

A claim that is made here is held by its lease, and by the life of ``script`` if one is named: nothing else extends it. What a
crash of the caller leaves is a claim that comes back when the lease is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO

from sftpgate.app.composition import name_rules
from sftpgate.ledger import claims as records
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.actor import Actor, runner
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.outcome import Statement, by_statement, with_reason
from sftpgate.policy.runs import RunOutcome
from sftpgate.policy.tools import check_tools
from sftpgate.runners.candidates import Candidates
from sftpgate.runners.claim_ends import ClaimEnd, Finished
from sftpgate.runners.claims import Claim, Claims
from sftpgate.runners.commands.keepers import Keepers
from sftpgate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedClaim:
    """How a claim ended: what was said of the file, and what became of it."""

    claim: Claim
    outcome: RunOutcome
    statement: Statement
    finished: Finished


def make_claims(site: Site, actor: Actor | None = None, *, keepers: Keepers | None = None) -> Claims:
    """Return the claims of a site, which ``actor`` makes and ends: the local account that runs tools, unless told otherwise.

    ``keepers``: what starts commands, if that is not to be done as the user that we are.
    """
    rules = site.placer.rules
    candidates = Candidates(site.resources, rules.names, rules.pointers, settle_seconds=site.settings.settle_seconds)
    tools = site.settings.tools
    return Claims(
        site.resources,
        site.journal,
        site.placer,
        candidates,
        tools,
        actor or runner(),
        keepers,
        language_of=site.language_of,
    )


def is_claim(ledger: Ledger, token: str) -> bool:
    """Return whether somebody holds a claim of this name."""
    with ledger.reading() as connection:
        return records.by_token(connection, token) is not None


def take(site: Site, actor: Actor, tool: str, *, lease: timedelta, script: int = 0) -> Claim | None:
    """Claim the oldest file that waits for ``tool``; None if there is none, or if the tool is at work elsewhere on this host.

    ``script``: a process of this host whose end gives the file back at once; 0 for none. Raises UnknownTool, and SettingsError
    if the tools of the settings are not usable.
    """
    check_tools(site.settings.tools, name_rules(site.settings))
    claims = make_claims(site, actor)
    with claims.only_runner(tool) as mine:
        return claims.take(tool, lease=lease, live=False, script=script) if mine else None


def extend(site: Site, actor: Actor, token: str, lease: timedelta) -> datetime:
    """Let a claim hold for ``lease``, counted from now; return until when. Raises ClaimLost."""
    claims = make_claims(site, actor)
    return claims.extend(claims.find(token), lease)


def end(
    site: Site,
    actor: Actor,
    token: str,
    outcome: RunOutcome,
    *,
    reason: str = "",
    report: BinaryIO | None = None,
    tryback: BinaryIO | None = None,
) -> EndedClaim:
    """Say how the work on a claimed file ended: it is archived, waits for its next attempt, or goes to quarantine.

    ``reason`` is why the run ended so, in the report and on the record; ``report`` and ``tryback`` are open files that take the
    place of those in the run's directory. What the run has stated there may turn DONE into DONE_WITH_REJECTED. Raises
    ClaimLost.
    """
    claims = make_claims(site, actor)
    held = claims.find(token)
    statement = claims.statement_of(held)
    judged = by_statement(outcome, statement)
    statement = with_reason(statement, judged, reason)
    ending = ClaimEnd(outcome=judged, statement=statement, report=report, tryback=tryback)
    finished = claims.end(held, ending)
    return EndedClaim(claim=held, outcome=ending.outcome, statement=statement, finished=finished)


def release(site: Site, actor: Actor, token: str) -> Arrival:
    """Give a claimed file back unused; the attempt does not count. Raises ClaimLost."""
    claims = make_claims(site, actor)
    return claims.end(claims.find(token), ClaimEnd(outcome=RunOutcome.RELEASED)).arrival
