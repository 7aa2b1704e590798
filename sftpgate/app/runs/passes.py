"""Passes over the tools: what cron does once a minute.

Most passes find nothing: what runs a tool is imported when one is run.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sftpgate.app.composition import name_rules
from sftpgate.errors import SettingsError
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.tools import check_tools, in_order
from sftpgate.runners.claims import Claims
from sftpgate.settings.tree import Settings

if TYPE_CHECKING:
    from sftpgate.runners.runner import PassAudience, PassResult

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A file that a pass would run a tool on now. ``arrival`` is None for a local file that is none yet."""

    tool: str
    path: str
    arrival: Arrival | None


def tools_to_run(settings: Settings, claims: Claims, named: Sequence[str]) -> list[str]:
    """Return the tools that are named, each once; all that are enabled if none is.

    Raises UnknownTool, and SettingsError for the first thing that is wrong with the tools, or for one that is not enabled.
    """
    check_tools(settings.tools, name_rules(settings))
    for name in named:
        if not claims.require(name).enabled:
            raise SettingsError(f"tools.{name}: it is not enabled: `sftpgate tool enable {name}` first")
    return list(dict.fromkeys(named)) or [name for name, tool in settings.tools.items() if tool.enabled]


def due(settings: Settings, claims: Claims, tools: Sequence[str]) -> Iterator[Due]:
    """Yield what a pass would do, arrivals in the order of their runs first, then local files."""
    for tool in in_order(settings.tools, tools):
        for item in claims.candidates.all_due(tool):
            yield Due(tool=tool, path=item.path, arrival=item)
    for tool in tools:
        for path in claims.candidates.unknown_files(tool):
            yield Due(tool=tool, path=path, arrival=None)


def unusable(settings: Settings, claims: Claims, tools: Sequence[str]) -> dict[str, str]:
    """Return those of the tools whose commands cannot be started, or cannot read their file, and why.

    A pass leaves them out: no attempt is spent on that.
    """
    from sftpgate.app.tools.checks import obstacle_of

    found: dict[str, str] = {}
    for name in tools:
        if problem := obstacle_of(settings, claims, name, try_it=claims.has_work(name)):
            found[name] = f"tools.{name}: {problem.what}; {problem.to_do}"
    return found


def run_pass(
    settings: Settings,
    claims: Claims,
    tools: Sequence[str],
    audience: PassAudience,
    *,
    limit: int | None = None,
    leave_out: Collection[str] = (),
) -> tuple[PassResult, int]:
    """Run the tools on what waits for them, until nothing waits or ``limit`` runs were made. For the main thread.

    A signal that asks this process to end stops the command and gives its file back. Returns what was done, and that signal; 0 if
    none came.
    """
    import asyncio

    from sftpgate.runners.runner import Runner

    received: list[int] = []

    async def do() -> PassResult:
        runner = Runner(claims, settings.tools, audience)

        def stop(number: int) -> None:
            received.append(number)
            runner.stop()

        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.add_signal_handler(number, stop, number)
        return await runner.run(tools, limit=limit, unusable=leave_out)

    return asyncio.run(do()), received[0] if received else 0
