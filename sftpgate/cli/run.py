"""``sftpgate run``: what cron calls. Silent where nothing happened; what it says otherwise is in ``run_output``.

What is heavy is imported when something is to be done: cron starts a process a minute, and most of them find nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from sftpgate.runners.claims import Claims
    from sftpgate.runners.runner import PassResult
    from sftpgate.settings import Settings


def run(
    tools: Annotated[list[str] | None, typer.Argument(metavar="[TOOL]...", help="Tools of the settings.")] = None,
    all_tools: Annotated[bool, typer.Option("--all", help="All tools that are enabled.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be run.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many runs.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each run, as on a terminal.")] = False,
) -> None:
    """Run tools on the files that wait for them, until nothing waits. Silent where there was nothing to do.

    A tool goes after those that it names in `after`; where one of them failed, it is left out of this pass. Prints a line for
    each run that failed, and one that sums up the pass. SIGTERM stops the command and gives its file back. Exit codes: 0 done,
    3 nothing to do, 4 a tool failed, 5 unknown tool, 75 a tool could not take its file, which is not to blame, 78 bad settings.

    Example: sftpgate run --all
    """
    from sftpgate.cli import idle
    from sftpgate.cli.context import make_keepers, opened, read_settings

    if all_tools == bool(tools):
        raise typer.BadParameter("name the tools to run, or say --all")
    settings = read_settings()
    keepers = make_keepers(settings)
    with opened(settings) as system:
        from sftpgate.runners.holding import make_claims

        claims = make_claims(system, keepers=keepers)
        chosen = _chosen(settings, claims, tools or [], explicit=not all_tools)
        if dry_run:
            _say_what_waits(settings, claims, chosen, limit)
            return
        if not any(claims.has_work(tool) for tool in chosen):
            idle.remember(system)
            raise typer.Exit(ExitCode.NOTHING_TO_DO)
        unusable = _unusable(settings, claims, chosen)
        result, signal_number = _pass(settings, claims, chosen, limit, unusable=unusable, verbose=verbose)
        unusable |= result.unusable
    if signal_number:
        raise typer.Exit(128 + signal_number)
    if unusable:
        raise SettingsError("; ".join(unusable.values()))
    if result.failed:
        raise typer.Exit(ExitCode.TOOL_FAILED)
    if result.put_off:
        raise typer.Exit(ExitCode.TRY_AGAIN)
    if not result.runs:
        raise typer.Exit(ExitCode.NOTHING_TO_DO)


def _chosen(settings: Settings, claims: Claims, tools: Sequence[str], *, explicit: bool) -> list[str]:
    """The tools to run, each once. Raises UnknownTool, or SettingsError for the first thing that is wrong with the tools."""
    from sftpgate.cli.compose import name_rules
    from sftpgate.policy.tools import check_tools

    check_tools(settings.tools, name_rules(settings))
    for name in tools:
        if not claims.require(name).enabled:
            raise SettingsError(f"tools.{name}: it is not enabled: `sftpgate tool enable {name}` first")
    return list(dict.fromkeys(tools)) if explicit else [name for name, tool in settings.tools.items() if tool.enabled]


def _say_what_waits(settings: Settings, claims: Claims, tools: Sequence[str], limit: int | None) -> None:
    from sftpgate.logs import printable
    from sftpgate.policy.tools import in_order

    lines = [
        f"{tool}: {printable(item.path)} (arrival {item.id}, attempt {item.attempts + 1})"
        for tool in in_order(settings.tools, tools)
        for item in claims.candidates.all_due(tool)
    ]
    lines += [f"{tool}: {printable(path)} (a local file)" for tool in tools for path in claims.candidates.unknown_files(tool)]
    for line in lines[:limit]:
        typer.echo(line)
    if not lines:
        raise typer.Exit(ExitCode.NOTHING_TO_DO)


def _unusable(settings: Settings, claims: Claims, tools: Sequence[str]) -> dict[str, str]:
    """Those of the tools whose commands cannot be started, or cannot read their file, and why: no attempt is spent on that."""
    from sftpgate.cli.run_checks import obstacle_of

    found: dict[str, str] = {}
    for name in tools:
        if problem := obstacle_of(settings, claims, name, try_it=claims.has_work(name)):
            found[name] = f"tools.{name}: {problem.what}; {problem.to_do}"
    return found


def _pass(
    settings: Settings,
    claims: Claims,
    tools: Sequence[str],
    limit: int | None,
    *,
    unusable: Collection[str],
    verbose: bool,
) -> tuple[PassResult, int]:
    """Run the tools; returns what was done, and the signal that ended it, or 0."""
    import asyncio
    import signal

    from sftpgate.cli.run_output import Lines
    from sftpgate.runners.runner import Runner

    received: list[int] = []
    lines = Lines(verbose=verbose)

    async def do() -> PassResult:
        runner = Runner(claims, settings.tools, lines)

        def stop(number: int) -> None:
            received.append(number)
            runner.stop()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop, number)
        return await runner.run(tools, limit=limit, unusable=unusable)

    try:
        return asyncio.run(do()), received[0] if received else 0
    finally:
        lines.sum_up()
