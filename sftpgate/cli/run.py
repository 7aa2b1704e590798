"""``sftpgate run``: what cron calls. Silent where nothing happened, one line for each run otherwise.

What is heavy is imported when something is to be done: cron starts a process a minute, and most of them find nothing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from rich.status import Status

    from sftpgate.runners.claims import Claim, Claims
    from sftpgate.runners.runner import PassResult, RunResult
    from sftpgate.settings import Settings


def run(
    tools: Annotated[list[str] | None, typer.Argument(metavar="[TOOL]...", help="Tools of the settings.")] = None,
    all_tools: Annotated[bool, typer.Option("--all", help="All tools that are enabled.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be run.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many runs.")] = None,
) -> None:
    """Run tools on the files that wait for them, until nothing waits. Silent where there was nothing to do.

    A tool goes after those that it names in `after`; where one of them failed, it is left out of this pass. SIGTERM stops the
    command and gives its file back. Exit codes: 0 done, 3 nothing to do, 4 a tool failed, 5 unknown tool, 78 bad settings.

    Example: sftpgate run --all
    """
    from sftpgate.cli.context import opened, read_settings

    if all_tools == bool(tools):
        raise typer.BadParameter("name the tools to run, or say --all")
    settings = read_settings()
    with opened(settings) as system:
        from sftpgate.runners.holding import make_claims

        claims = make_claims(system)
        chosen = _chosen(settings, claims, tools or [], explicit=not all_tools)
        if dry_run:
            _say_what_waits(settings, claims, chosen, limit)
            return
        if not any(claims.has_work(tool) for tool in chosen):
            raise typer.Exit(ExitCode.NOTHING_TO_DO)
        result, signal_number = _pass(settings, claims, chosen, limit)
    if signal_number:
        raise typer.Exit(128 + signal_number)
    if result.failed:
        raise typer.Exit(ExitCode.TOOL_FAILED)
    if not result.runs:
        raise typer.Exit(ExitCode.NOTHING_TO_DO)


def _chosen(settings: Settings, claims: Claims, tools: Sequence[str], *, explicit: bool) -> list[str]:
    """The tools to run, each once. Raises UnknownTool, or SettingsError for the first thing that is wrong with the tools."""
    from sftpgate.cli.compose import name_rules
    from sftpgate.policy.tools import check_tools

    check_tools(settings.tools, name_rules(settings))
    for name in tools:
        if not claims.require(name).enabled:
            raise SettingsError(f"tools.{name}: it is not enabled; set enabled = true to run it")
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


def _pass(settings: Settings, claims: Claims, tools: Sequence[str], limit: int | None) -> tuple[PassResult, int]:
    """Run the tools; returns what was done, and the signal that ended it, or 0."""
    import asyncio
    import signal

    from sftpgate.runners.runner import Runner

    received: list[int] = []

    async def do() -> PassResult:
        runner = Runner(claims, settings.tools, Lines())

        def stop(number: int) -> None:
            received.append(number)
            runner.stop()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop, number)
        return await runner.run(tools, limit=limit)

    return asyncio.run(do()), received[0] if received else 0


class Lines:
    """Says what a pass does: a line for each run, and on a terminal what is at work."""

    def __init__(self) -> None:
        self._shown: contextlib.ExitStack = contextlib.ExitStack()

    def started(self, claim: Claim) -> None:
        """Show on a terminal what is at work."""
        if sys.stderr.isatty():
            self._shown.enter_context(_spinner(f"{claim.tool}: {claim.arrival.path}"))

    def finished(self, result: RunResult) -> None:
        """Say how a run ended."""
        self._shown.close()
        typer.echo(describe(result))

    def skipped(self, tool: str, because_of: str) -> None:
        """Say that a tool is left out."""
        typer.echo(f"{tool}: left out of this pass, because {because_of} failed")


@contextlib.contextmanager
def _spinner(text: str) -> Iterator[Status]:
    from rich.console import Console
    from rich.markup import escape

    from sftpgate.logs import printable

    with Console(stderr=True).status(escape(printable(text))) as status:
        yield status


def describe(result: RunResult) -> str:
    """One line that says how a run ended, and what became of the file."""
    from sftpgate.logs import printable
    from sftpgate.policy.lifecycle import ArrivalState
    from sftpgate.policy.runs import RunOutcome

    states = ArrivalState
    took = f"{result.seconds:.1f} s"
    match result.outcome:
        case RunOutcome.DONE:
            what = f"done in {took}"
        case RunOutcome.TIMED_OUT:
            what = f"stopped after {took}, its time was over"
        case RunOutcome.INTERRUPTED:
            what = f"interrupted after {took}"
        case _:
            what = f"failed after {took} ({_status(result.exit_status)})"
    if result.outcome is not RunOutcome.DONE:
        what += f", attempt {result.attempt} of {result.max_attempts}"
    kept = [f"report reports/{result.report}" if result.report else "no report could be written"]
    if result.tryback:
        kept.append(f"rejected lines reports/{result.tryback}")
    match result.arrival.state:
        case states.QUARANTINED:
            kept.append("moved to quarantine")
        case states.REPLACED:
            kept.append("archived, because a newer file of its name waits")
        case states.WAITING | states.QUEUED:
            kept.append("it waits for the next attempt")
        case _:
            pass
    return printable(f"{result.tool}: {result.arrival.path} {what}, {', '.join(kept)}")


def _status(exit_status: int) -> str:
    return f"exit status {exit_status}" if exit_status >= 0 else f"signal {-exit_status}"
