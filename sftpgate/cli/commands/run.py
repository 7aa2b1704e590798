"""``sftpgate run``: what cron calls. Silent if nothing happened; what it says otherwise is in ``run_output``.

What is heavy is imported when something is to be done: cron starts a process a minute, and most of them find nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import records_itself
from sftpgate.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from sftpgate.app.runs.passes import Due


@records_itself
def run(
    tools: Annotated[list[str] | None, typer.Argument(metavar="[TOOL]...", help="Tools of the settings.")] = None,
    all_tools: Annotated[bool, typer.Option("--all", help="All tools that are enabled.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be run.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many runs.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each run, as on a terminal.")] = False,
) -> None:
    """Run tools on the files that wait for them, until nothing waits. Silent if there was nothing to do.

    A tool goes after those that it names in `after`; if one of them failed, it is left out of this pass. Prints a line for
    each run that failed, and one that sums up the pass. SIGTERM stops the command and gives its file back. Exit codes: 0 done,
    3 nothing to do, 4 a tool failed, 5 unknown tool, 75 a tool could not take its file, which is not to blame, 78 bad settings.

    Example: sftpgate run --all
    """
    from sftpgate.app import idle_run
    from sftpgate.app.context import make_keepers, opened, read_settings

    if all_tools == bool(tools):
        raise typer.BadParameter("name the tools to run, or say --all")
    settings = read_settings()
    keepers = make_keepers(settings)
    with opened(settings) as site:
        from sftpgate.app.runs.claims import make_claims
        from sftpgate.app.runs.passes import due, run_pass, tools_to_run, unusable

        claims = make_claims(site, keepers=keepers)
        chosen = tools_to_run(settings, claims, tools or [])
        if dry_run:
            _say_what_waits(due(settings, claims, chosen), limit)
            return
        if not any(claims.has_work(tool) for tool in chosen):
            idle_run.remember(site)
            raise typer.Exit(ExitCode.NOTHING_TO_DO)
        from sftpgate.cli.run_output import Lines

        left_out = unusable(settings, claims, chosen)
        lines = Lines(verbose=verbose)
        try:
            result, signal_number = run_pass(settings, claims, chosen, lines, limit=limit, leave_out=left_out)
        finally:
            lines.sum_up()
        left_out |= result.unusable
    if signal_number:
        raise typer.Exit(128 + signal_number)
    if left_out:
        raise SettingsError("; ".join(left_out.values()))
    if result.failed:
        raise typer.Exit(ExitCode.TOOL_FAILED)
    if result.put_off:
        raise typer.Exit(ExitCode.TRY_AGAIN)
    if not result.runs:
        raise typer.Exit(ExitCode.NOTHING_TO_DO)


def _say_what_waits(found: Iterable[Due], limit: int | None) -> None:
    from sftpgate.logs import printable

    lines = [
        f"{item.tool}: {printable(item.path)} (arrival {item.arrival.id}, attempt {item.arrival.attempts + 1})"
        if item.arrival
        else f"{item.tool}: {printable(item.path)} (a local file)"
        for item in found
    ]
    for line in lines[:limit]:
        typer.echo(line)
    if not lines:
        raise typer.Exit(ExitCode.NOTHING_TO_DO)
