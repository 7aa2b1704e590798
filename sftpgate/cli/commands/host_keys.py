"""``sftpgate hostkey …``: the server's own keys, for the ERP's admin to compare, and their rotation."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from sftpgate.cli.command_record import changes, looks

hostkey_app = typer.Typer(help="The server's own keys.", no_args_is_help=True)

Host = Annotated[str, typer.Option(help="The name that clients connect to; default: where the server listens, or this machine.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port that clients connect to; default: that of the settings.")]


@hostkey_app.command("show")
@looks
def hostkey_show(
    host: Host = "",
    port: Port = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    allowed_signers: Annotated[
        bool, typer.Option("--allowed-signers", help="Print the file by which ssh-keygen verifies receipts, and nothing else.")
    ] = False,
) -> None:
    """Show the fingerprints, and lines for a client's known_hosts and for the DNS. Makes nothing.

    Example: sftpgate hostkey show --host sftp.example.org --port 22
    """
    from dataclasses import asdict

    from sftpgate.app.context import read_settings
    from sftpgate.app.users.host_keys import host_keys
    from sftpgate.cli.output import emit, shown

    if allowed_signers:
        from sftpgate.app.receipts import allowed_signers as signers

        for line in signers(read_settings()):
            typer.echo(line)
        return
    rows = [asdict(record) for record in host_keys(read_settings(), host, port)]
    emit(rows, ["type", "bits", "fingerprint", "state", "in_use_from"], json=json)
    if json:
        return
    typer.echo("\nFor known_hosts:")
    for row in rows:
        typer.echo(shown(row["known_hosts"]))
    typer.echo("\nFor the DNS:")
    for row in rows:
        typer.echo(shown(row["sshfp"]))


@hostkey_app.command("rotate")
@changes
def hostkey_rotate(
    overlap: Annotated[str, typer.Option(help="How long the old keys are still shown: 30d, 12h.")] = "30d",
    finish: Annotated[bool, typer.Option("--finish", help="Let the next keys take over now.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Forget the next keys.")] = False,
) -> None:
    """Make new host keys, which running servers announce at once and show when the overlap has passed.

    OpenSSH clients with UpdateHostKeys learn them meanwhile; for others, send what `sftpgate hostkey show` prints.

    Example: sftpgate hostkey rotate --overlap 60d
    """
    from sftpgate.app.context import read_settings
    from sftpgate.app.users import host_keys
    from sftpgate.cli.output import shown
    from sftpgate.ledger.audit.actor import command
    from sftpgate.settings.durations import duration_of

    if finish and cancel:
        raise typer.BadParameter("only one of --finish and --cancel at a time")
    settings = read_settings()
    if cancel:
        host_keys.cancel_rotation(settings, command())
        typer.echo("rotation cancelled: the keys in use stay")
        return
    if finish:
        host_keys.finish_rotation(settings, command())
        typer.echo("the next keys are in use; the earlier ones are in host/previous")
        return
    seconds = duration_of(overlap)
    if seconds is None:
        raise typer.BadParameter("--overlap is a duration such as 30d or 12h")
    made = host_keys.begin_rotation(settings, command(), timedelta(seconds=seconds))
    for key in made.keys:
        typer.echo(f"next: {key.fingerprint} ({key.type})")
    typer.echo(
        f"They are announced from now on, and in use from {shown(made.due_at)}. `sftpgate hostkey show` has the lines to send."
    )
