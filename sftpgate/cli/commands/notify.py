"""``sftpgate notify …``: who is told of what, what was sent, and what they said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import changes, looks

if TYPE_CHECKING:
    from sftpgate.app.notifications.listing import ListedMessage

notify_app = typer.Typer(help="Notifications: mail, webhooks, commands and chat.", no_args_is_help=True)

COLUMNS = ("id", "created_at", "state", "receiver", "recipient", "kind", "events", "tries", "said")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The message's id, or its beginning.")]


@notify_app.command("receivers")
@looks
def notify_receivers(json: Json = False) -> None:
    """List who is told, by which way, and whether they are there.

    Example: sftpgate notify receivers
    """
    from dataclasses import asdict

    from sftpgate.app.context import read_settings
    from sftpgate.app.notifications.listing import list_receivers
    from sftpgate.cli.output import emit

    rows = [asdict(each) for each in list_receivers(read_settings())]
    emit(rows, ["receiver", "way", "where", "rules", "state", "failures", "not_before", "off_because"], json=json)


@notify_app.command("list")
@looks
def notify_list(
    state: Annotated[str | None, typer.Option(help="Only those that are due, sent, failed or dropped.")] = None,
    receiver: Annotated[str | None, typer.Option(help="Only those to this receiver.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Only so many, the newest.")] = 100,
    json: Json = False,
) -> None:
    """List messages, the oldest first, with what their receivers said last.

    Example: sftpgate notify list --state failed
    """
    from dataclasses import asdict

    from sftpgate.app.context import read_settings
    from sftpgate.app.notifications.listing import list_messages
    from sftpgate.cli.output import emit

    found = list_messages(read_settings(), state=state, receiver=receiver, limit=limit)
    emit([asdict(each) for each in found], COLUMNS, json=json)


@notify_app.command("show")
@looks
def notify_show(message: Id, json: Json = False) -> None:
    """Show one message: what it tells, and each attempt.

    Example: sftpgate notify show 01K3A
    """
    from dataclasses import asdict

    from sftpgate.app.context import read_settings
    from sftpgate.app.notifications.listing import show_message
    from sftpgate.cli.output import emit, emit_record

    found = asdict(show_message(read_settings(), message))
    if json:
        emit_record(found, json=True)
        return
    emit_record({name: value for name, value in found.items() if name not in ("attempts", "about", "said")})
    typer.echo()
    emit(found["about"], ["at", "event", "path", "user"])
    if found["attempts"]:
        typer.echo()
        emit([dict(zip(("at", "verdict", "said"), each, strict=True)) for each in found["attempts"]], ["at", "verdict", "said"])


@notify_app.command("test")
@changes
def notify_test(
    receiver: Annotated[str, typer.Argument(help="Name of a receiver, or senders.")],
    user: Annotated[str, typer.Option(help="The sender to write to, if it is the senders.")] = "",
    json: Json = False,
) -> None:
    """Send a test at once, and print what the receiver said.

    Example: sftpgate notify test admins
    """
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.notifications.acts import send_test
    from sftpgate.errors import ExitCode
    from sftpgate.ledger.audit.actor import command
    from sftpgate.ledger.outbox.messages import MessageState

    with opened(read_settings()) as site:
        done = send_test(site, command(), receiver, user)
    _print(done, json=json)
    if any(each.state is not MessageState.SENT for each in done):
        raise typer.Exit(ExitCode.FAILED)


@notify_app.command("resend")
@changes
def notify_resend(
    message: Annotated[list[str], typer.Argument(metavar="ID…", help="Ids of messages.")], json: Json = False
) -> None:
    """Deliver messages once more, under the same ids: a receiver that has one knows it.

    Example: sftpgate notify resend 01K3A
    """
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.notifications.acts import resend
    from sftpgate.ledger.audit.actor import command

    with opened(read_settings()) as site:
        done = resend(site, command(), message)
    _print(done, json=json)


@notify_app.command("resume")
@changes
def notify_resume(receiver: Annotated[str, typer.Argument(help="Name of a receiver.")]) -> None:
    """Send to a receiver again that was turned off, or that is waited for, at once.

    Example: sftpgate notify resume hook
    """
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.notifications.acts import resume
    from sftpgate.ledger.audit.actor import command

    with opened(read_settings()) as site:
        resume(site, command(), receiver)
    typer.echo(f"{receiver} is sent to again")


@notify_app.command("key")
@looks
def notify_key(
    shared: Annotated[bool, typer.Option("--shared", help="A secret that both sides have, instead of a pair of keys.")] = False,
    json: Json = False,
) -> None:
    """Make a key that signs webhooks, and print it with what the receiver needs. Nothing is kept.

    Example: sftpgate notify key
    """
    from sftpgate.app.notifications.acts import make_key
    from sftpgate.cli.output import emit_record

    made = make_key(shared=shared)
    emit_record({"for_sftpgate.toml": made.secret, "for_the_receiver": made.for_receiver}, json=json)


def _print(done: list[ListedMessage], *, json: bool) -> None:
    from dataclasses import asdict

    from sftpgate.cli.output import emit

    emit([asdict(each) for each in done], ["id", "state", "receiver", "recipient", "said"], json=json)
