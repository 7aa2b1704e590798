"""``sftpgate claim``, ``done``, ``fail``, ``extend``: with ``release``, the protocol of runners for scripts in any language.

The process that claims ends at once, so only the lease holds such a claim: a script that needs longer extends it in time. After
the lease the claim is lost, whatever the script did: the file is given back, and the attempt counts.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from sftpgate.cli.command_record import records_itself
from sftpgate.errors import ExitCode, NotFound

if TYPE_CHECKING:
    from sftpgate.policy.runs import RunOutcome
    from sftpgate.runners.claims import Claim

_DEFAULT_LEASE = "15m"

Json = Annotated[bool, typer.Option("--json", help="Print one object.")]
Token = Annotated[str, typer.Argument(metavar="CLAIM", help="What `sftpgate claim` printed first.")]
Lease = Annotated[str, typer.Option(help="How long the claim holds, as 900, 15m or 2h.")]
Report = Annotated[Path | None, typer.Option(help="A file with the text of the report.")]


@records_itself
def claim(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="A tool of the settings.")],
    lease: Lease = _DEFAULT_LEASE,
    pid: Annotated[
        int, typer.Option(min=0, show_default=False, help="A process of this host, such as $$: its end gives the file back.")
    ] = 0,
    json: Json = False,
) -> None:
    """Claim the oldest file that waits for a tool, and print the claim and the file's path, with a space between them.

    Nobody else gets the file until `done`, `fail`, `release`, or the end of the lease. Exit code 3 if nothing waits.

    Example: read -r claim file < <(sftpgate claim enrols) && my-import "$file" && sftpgate done "$claim"
    """
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.runs.claims import take
    from sftpgate.cli.output import emit_record
    from sftpgate.ledger.audit import actor

    settings, duration, script = read_settings(), _lease(lease), _living(pid)
    with opened(settings) as site:
        held = take(site, actor.runner(), tool, lease=duration, script=script)
    if held is None:
        raise typer.Exit(ExitCode.NOTHING_TO_DO)
    if json:
        emit_record(_row(held), json=True)
    else:
        typer.echo(f"{held.token} {held.path}")


@records_itself
def done(
    claim: Token,
    report: Report = None,
    tryback: Annotated[Path | None, typer.Option(help="A file with the rejected lines.")] = None,
    json: Json = False,
) -> None:
    """Say that a claimed file is processed: it is archived, with a report.

    Example: sftpgate done 01K3D0 --report out.txt
    """
    from sftpgate.policy.runs import RunOutcome

    _end(claim, RunOutcome.DONE, report=report, tryback=tryback, json=json)


@records_itself
def fail(
    claim: Token,
    reason: Annotated[str, typer.Option(help="A sentence for the report.")] = "",
    later: Annotated[
        bool, typer.Option("--later", help="The file is not to blame: it is tried again later, and no attempt is spent.")
    ] = False,
    report: Report = None,
    tryback: Annotated[Path | None, typer.Option(help="A file with the rejected lines.")] = None,
    json: Json = False,
) -> None:
    """Say that processing failed: the file waits for the next attempt, or goes to quarantine after the last one.

    Example: sftpgate fail 01K3D0 --reason "database is down"
    """
    from sftpgate.policy.runs import RunOutcome

    _end(claim, RunOutcome.NOT_THE_FILE if later else RunOutcome.FAILED, report=report, tryback=tryback, reason=reason, json=json)


@records_itself
def extend(claim: Token, lease: Lease = _DEFAULT_LEASE, json: Json = False) -> None:
    """Let a claim hold for longer, counted from now, and print until when.

    Example: sftpgate extend 01K3D0 --lease 1h
    """
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.runs import claims
    from sftpgate.cli.output import emit_record, shown
    from sftpgate.ledger.audit import actor

    settings, duration = read_settings(), _lease(lease)
    with opened(settings) as site:
        until = claims.extend(site, actor.runner(), claim, duration)
    if json:
        emit_record({"claim": claim, "lease_until": until}, json=True)
    else:
        typer.echo(shown(until))


def _end(
    token: str,
    outcome: RunOutcome,
    *,
    report: Path | None = None,
    tryback: Path | None = None,
    reason: str = "",
    json: bool,
) -> None:
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.runs import claims
    from sftpgate.cli.output import emit_record
    from sftpgate.ledger.audit import actor

    with contextlib.ExitStack() as stack:
        papers = _open(report, stack), _open(tryback, stack)
        site = stack.enter_context(opened(read_settings()))
        ended = claims.end(site, actor.runner(), token, outcome, reason=reason, report=papers[0], tryback=papers[1])
    row = {
        "claim": token,
        "arrival": ended.claim.arrival.id,
        "path": ended.claim.arrival.path,
        "outcome": ended.outcome,
        "rows": ended.statement.rows,
        "accepted": ended.statement.accepted,
        "rejected": ended.statement.rejected,
        "state": ended.finished.arrival.state,
        "report": ended.finished.report,
        "tryback": ended.finished.tryback,
    }
    if json:
        emit_record(row, json=True)


def _living(pid: int) -> int:
    """Return ``pid``, which must be a process that we can see."""
    if pid and not Path(f"/proc/{pid}").exists():
        raise typer.BadParameter(f"--pid: there is no process {pid} on this host; write $$ in a shell, getmypid() in PHP")
    return pid


def _open(path: Path | None, stack: contextlib.ExitStack) -> BinaryIO | None:
    if path is None:
        return None
    try:
        return stack.enter_context(path.open("rb"))
    except OSError as error:
        raise NotFound(f"{path}: cannot be read: {error.strerror}") from error


def _lease(text: str) -> timedelta:
    from sftpgate.settings.durations import parse_duration

    seconds = parse_duration(text)
    if not isinstance(seconds, float) or seconds <= 0:
        raise typer.BadParameter(f"--lease: {text!r} is no duration; write 900, 15m or 2h")
    try:
        return timedelta(seconds=seconds)
    except OverflowError as error:
        raise typer.BadParameter(f"--lease: {text!r} is too long") from error


def _row(held: Claim) -> dict[str, object]:
    item = held.arrival
    return {
        "claim": held.token,
        "path": held.path,
        "tool": held.tool,
        "name": item.path,
        "arrival": item.id,
        "user": item.owner,
        "size": item.size,
        "sha256": item.sha256,
        "received_at": item.received_at,
        "attempt": item.attempts,
        "lease_until": held.lease_until,
        "tryback": held.tryback,
        "output": held.output,
        "result": held.result,
    }
