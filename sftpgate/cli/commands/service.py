"""``sftpgate service …``: the gate as a service of systemd, made and taken away."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import only_looked, records_itself

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sftpgate.app.installation.service import InstallationStep

service_app = typer.Typer(help="The gate as a service that starts with the machine.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@service_app.command("install")
@records_itself
def service_install(
    directory: Annotated[Path, typer.Option(help="Where sftpgate.toml, data and keys are, or shall be.")] = Path("/srv/sftpgate"),
    user: Annotated[str, typer.Option(help="The system user that the gate runs as; made if it is not there.")] = "sftpgate",
    group: Annotated[str, typer.Option(help="The group that may read the store: the platform's. Default: the user's own.")] = "",
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "0.0.0.0",  # noqa: S104 - for other machines
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 2222,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it now and with the machine.")] = True,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Make user, directories and systemd units for this installation, and start them. Shows the steps first, and asks.

    Example: sudo sftpgate service install --group www-data --port 22
    """
    from sftpgate.app.installation.service import installing
    from sftpgate.app.installation.units import Installation

    program = Path(sys.executable).with_name("sftpgate")
    wanted = Installation(program=program, directory=directory, user=user, group=group or user, host=host, port=port)
    if _carried_out(installing(wanted, start=start), dry_run=dry_run, yes=yes):
        typer.echo(f"next: sudo -u {user} sh -c 'cd {directory} && {program} user add NAME', and `{program} doctor` there")


@service_app.command("remove")
@records_itself
def service_remove(dry_run: DryRun = False, yes: Yes = False) -> None:
    """Stop the service and remove its units. Data, keys, settings and the system user stay.

    Example: sudo sftpgate service remove
    """
    from sftpgate.app.installation.service import removing

    if _carried_out(removing(), dry_run=dry_run, yes=yes):
        typer.echo("data, keys, sftpgate.toml and the system user are still there")


def _carried_out(steps: Sequence[InstallationStep], *, dry_run: bool, yes: bool) -> bool:
    """Show the steps, ask, and do them; return whether something was done."""
    from sftpgate.app.installation.service import carry_out
    from sftpgate.errors import Refused

    wanted = [step for step in steps if step.act is not None]
    for step in steps:
        typer.echo(f"{'will' if step.act else ' ok '}  {step.what}")
    if dry_run or not wanted:
        only_looked()
        typer.echo("nothing was done" if wanted else "nothing to do")
        return False
    if not yes:
        if not sys.stdin.isatty():
            raise Refused("there is no terminal to ask on: say --yes")
        if not typer.confirm("Do that?"):
            raise Refused("nothing was done")
    for step in carry_out(wanted):
        typer.echo(f"done  {step.what}")
    return True
