"""``sftpgate tool list`` and ``tool show``: what the tools are pointed at, what waits for them, and how they fared."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.record import looks
from sftpgate.cli.tool_checks import tool_check
from sftpgate.cli.tool_edits import COMMANDS

if TYPE_CHECKING:
    from sftpgate.cli.compose import System
    from sftpgate.runners.claims import Claims
    from sftpgate.settings import ToolSettings

tool_app = typer.Typer(help="See the tools, point them at files, enable and disable them.")
for _name, _command in COMMANDS:
    tool_app.command(_name)(_command)
tool_app.command("check")(looks(tool_check))

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_SHOWN_WAITING = 20  # paths that `tool show` lists


@tool_app.command("list")
@looks
def tool_list(json: Json = False) -> None:
    """List the tools in the order in which they run.

    Example: sftpgate tool list
    """
    from sftpgate.cli.compose import name_rules
    from sftpgate.cli.context import opened, read_settings
    from sftpgate.cli.output import emit
    from sftpgate.policy.tools import check_tools, in_order
    from sftpgate.runners.holding import make_claims

    settings = read_settings()
    check_tools(settings.tools, name_rules(settings))
    with opened(settings) as system:
        claims = make_claims(system)
        rows = [_row(system, claims, name, settings.tools[name]) for name in in_order(settings.tools, list(settings.tools))]
    emit(rows, ["tool", "file", "arrivals", "after", "enabled", "waiting", "last_run_at", "last_outcome"], json=json)


@tool_app.command("show")
@looks
def tool_show(tool: Annotated[str, typer.Argument(metavar="NAME", help="A tool of the settings.")], json: Json = False) -> None:
    """Show one tool: its command, what waits for it, and its last run.

    Example: sftpgate tool show enrols
    """
    from sftpgate.cli.context import opened, read_settings
    from sftpgate.cli.output import emit_record
    from sftpgate.ledger import runs
    from sftpgate.runners.holding import make_claims

    settings = read_settings()
    with opened(settings) as system:
        claims = make_claims(system)
        found = claims.require(tool)
        waiting = claims.candidates.all_waiting(tool)
        local = claims.candidates.unknown_files(tool)
        with system.ledger.reading() as connection:
            last = runs.last_of_tool(connection, tool)
        row = _row(system, claims, tool, found)
    row |= {
        "command": list(found.command),
        "timeout": found.timeout,
        "max_attempts": found.max_attempts,
        "retry_delay": found.retry_delay,
        "run_as": found.run_as or None,
        "run_group": found.run_group or None,
        "working_directory": found.working_directory,
        "environment": dict(found.environment),
    }
    paths = [f"{item.path} (attempt {item.attempts + 1})" if item.attempts else item.path for item in waiting]
    if json:
        waits = [
            {"arrival": item.id, "path": item.path, "attempts": item.attempts, "not_before": item.not_before} for item in waiting
        ]
        emit_record({**row, "waits": waits, "local_files": local, "last_run": asdict(last) if last else None}, json=True)
        return
    more = [f"and {len(paths) - _SHOWN_WAITING} more"] if len(paths) > _SHOWN_WAITING else []
    emit_record(
        {
            **row,
            "waits": paths[:_SHOWN_WAITING] + more,
            "local_files": local,
            "last_report": f"reports/{last.report}" if last and last.report else None,
            "last_exit_status": last.exit_status if last else None,
        }
    )


def _row(system: System, claims: Claims, name: str, tool: ToolSettings) -> dict[str, object]:
    from sftpgate.ledger import runs

    with system.ledger.reading() as connection:
        last = runs.last_of_tool(connection, name)
    return {
        "tool": name,
        "file": list(tool.files),
        "arrivals": tool.arrivals,
        "after": list(tool.after),
        "enabled": tool.enabled,
        "waiting": len(claims.candidates.all_waiting(name)) + len(claims.candidates.unknown_files(name)),
        "last_run_at": last.started_at if last else None,
        "last_outcome": (last.outcome or "at work") if last else None,
    }
