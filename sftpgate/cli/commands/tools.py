"""``sftpgate tool list`` and ``tool show``: what the tools are pointed at, what waits for them, and how they fared."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import looks
from sftpgate.cli.commands.tool_changes import COMMANDS
from sftpgate.cli.commands.tool_check import tool_check

if TYPE_CHECKING:
    from sftpgate.app.tools.listing import ToolRecord

tool_app = typer.Typer(help="See the tools, point them at files, enable and disable them.")
for _name, _command in COMMANDS:
    tool_app.command(_name)(_command)
tool_app.command("check")(tool_check)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_SHOWN_WAITING = 20  # paths that `tool show` lists


@tool_app.command("list")
@looks
def tool_list(json: Json = False) -> None:
    """List the tools in the order in which they run.

    Example: sftpgate tool list
    """
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.tools.listing import list_tools
    from sftpgate.cli.output import emit

    with opened(read_settings()) as site:
        rows = [_row(record) for record in list_tools(site)]
    emit(rows, ["tool", "file", "arrivals", "after", "enabled", "waiting", "last_run_at", "last_outcome"], json=json)


@tool_app.command("show")
@looks
def tool_show(tool: Annotated[str, typer.Argument(metavar="NAME", help="A tool of the settings.")], json: Json = False) -> None:
    """Show one tool: its command, what waits for it, and its last run.

    Example: sftpgate tool show enrols
    """
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.tools.listing import show_tool
    from sftpgate.cli.output import emit_record
    from sftpgate.policy.lifecycle import Area
    from sftpgate.policy.locations import location

    with opened(read_settings()) as site:
        known = show_tool(site, tool)
    row, found, local, last = _row(known.record), known.settings, known.local_files, known.last_run
    row |= {
        "command": list(found.command),
        "timeout": found.timeout,
        "max_attempts": found.max_attempts,
        "retry_delay": found.retry_delay,
        "tried_again_at": known.tried_again_at,
        "run_as": found.run_as or None,
        "run_group": found.run_group or None,
        "working_directory": found.working_directory,
        "environment": dict(found.environment),
    }
    paths = [f"{item.path} (attempt {item.attempts + 1})" if item.attempts else item.path for item in known.waiting]
    if json:
        waits = [
            {"arrival": item.id, "path": item.path, "attempts": item.attempts, "not_before": item.not_before}
            for item in known.waiting
        ]
        emit_record({**row, "waits": waits, "local_files": local, "last_run": asdict(last) if last else None}, json=True)
        return
    more = [f"and {len(paths) - _SHOWN_WAITING} more"] if len(paths) > _SHOWN_WAITING else []
    emit_record(
        {
            **row,
            "waits": paths[:_SHOWN_WAITING] + more,
            "local_files": local,
            "last_report": location(Area.REPORTS, last.report) if last and last.report else None,
            "last_exit_status": last.exit_status if last else None,
        }
    )


def _row(record: ToolRecord) -> dict[str, object]:
    """Return a row for a listing, by the names of the settings."""
    return {"file" if key == "files" else key: value for key, value in asdict(record).items()}
