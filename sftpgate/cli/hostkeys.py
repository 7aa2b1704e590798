"""``sftpgate hostkey …``: the server's own keys, for the ERP's admin to compare, and their rotation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from sftpgate.cli.record import changes, looks

hostkey_app = typer.Typer(help="The server's own keys.", no_args_is_help=True)

_EVERYWHERE = ("", "0.0.0.0", "::", "127.0.0.1", "::1")  # noqa: S104 - compared, not listened on

Host = Annotated[str, typer.Option(help="The name that clients connect to; default: where the server listens, or this machine.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port that clients connect to; default: that of the settings.")]


@hostkey_app.command("show")
@looks
def hostkey_show(
    host: Host = "", port: Port = 0, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show the fingerprints, and lines for a client's known_hosts and for the DNS. Makes nothing.

    Example: sftpgate hostkey show --host sftp.example.org --port 22
    """
    from sftpgate.cli.context import read_settings
    from sftpgate.cli.output import emit, shown
    from sftpgate.errors import NotFound
    from sftpgate.users.hostkeys import host_key_fingerprints, known_hosts_line, sshfp_record
    from sftpgate.users.hostrotation import rotation

    settings = read_settings()
    name, number = host or _own_name(settings.host), port or settings.port
    under_way = rotation(settings.keys_dir)
    keys = [(key, "in use") for key in host_key_fingerprints(settings.keys_dir)]
    keys += [(key, "next") for key in (under_way.keys if under_way else ())]
    if not keys:
        raise NotFound("there are no host keys yet: the first `sftpgate serve` makes them")
    rows = [
        {
            "type": key.type,
            "bits": key.bits,
            "fingerprint": key.fingerprint,
            "state": state,
            "in_use_from": under_way.due_at if under_way and state == "next" else None,
            "known_hosts": known_hosts_line(key, name, number),
            "sshfp": sshfp_record(key, name),
        }
        for key, state in keys
    ]
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
    from sftpgate.cli.context import read_settings
    from sftpgate.cli.output import shown
    from sftpgate.errors import Refused
    from sftpgate.settings import duration_of
    from sftpgate.users import hostrotation
    from sftpgate.users.hostkeys import ensure_host_keys

    if finish and cancel:
        raise typer.BadParameter("only one of --finish and --cancel at a time")
    settings = read_settings()
    if cancel:
        hostrotation.cancel_rotation(settings.keys_dir)
        typer.echo("rotation cancelled: the keys in use stay")
        return
    if finish:
        if not hostrotation.finish_rotation(settings.keys_dir):
            raise Refused("no rotation is under way")
        typer.echo("the next keys are in use; the earlier ones are in host/previous")
        return
    seconds = duration_of(overlap)
    if seconds is None:
        raise typer.BadParameter("--overlap is a duration such as 30d or 12h")
    ensure_host_keys(settings.keys_dir)
    made = hostrotation.begin_rotation(settings.keys_dir, datetime.now(UTC) + timedelta(seconds=seconds))
    for key in made.keys:
        typer.echo(f"next: {key.fingerprint} ({key.type})")
    typer.echo(
        f"They are announced from now on, and in use from {shown(made.due_at)}. `sftpgate hostkey show` has the lines to send."
    )


def _own_name(listening: str) -> str:
    import socket

    return socket.gethostname() if listening in _EVERYWHERE else listening
