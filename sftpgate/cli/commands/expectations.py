"""``sftpgate expect …``: files that are to arrive by a time: how it is with each, how it was, and what could be expected."""

from __future__ import annotations

from typing import Annotated

import typer

from sftpgate.cli.command_record import looks

expect_app = typer.Typer(help="Expected files: which came, which are late, what could be expected.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_COLUMNS = ["name", "expected", "state", "since", "due_at", "next_due_at", "arrival"]
_PAST_COLUMNS = ["due_at", "state", "since", "came_at", "path", "arrival"]


@expect_app.command("list")
@looks
def expect_list(json: Json = False) -> None:
    """List the expected files, and what is the case with each. Times are UTC.

    Example: sftpgate expect list
    """
    from datetime import UTC, datetime

    from sftpgate.app.context import ledger_for_reading, read_settings
    from sftpgate.app.expectations.overview import overview
    from sftpgate.cli.output import emit

    settings = read_settings()
    with ledger_for_reading(settings) as ledger:
        found = overview(settings, ledger, datetime.now(UTC))
    emit([_row(each) for each in found], _COLUMNS, json=json)


@expect_app.command("show")
@looks
def expect_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of an [expect.NAME] table.")],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many of the last times at which it was due.")] = 20,
    json: Json = False,
) -> None:
    """Show what is the case with one expected file, and how it was the last times. Times are UTC.

    Example: sftpgate expect show enrols
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from sftpgate.app.context import ledger_for_reading, read_settings
    from sftpgate.app.expectations.overview import history
    from sftpgate.cli.output import emit, emit_record

    settings = read_settings()
    with ledger_for_reading(settings) as ledger:
        expected, past = history(settings, ledger, name, datetime.now(UTC), limit=limit)
    if json:
        emit_record(_row(expected) | {"history": [asdict(each) for each in past]}, json=True)
        return
    row = _row(expected)
    emit_record({"now": expected.sentence(settings.language), **{key: row[key] for key in (*_COLUMNS[1:], "timezone")}})
    typer.echo()
    emit([asdict(each) for each in past], _PAST_COLUMNS)


@expect_app.command("suggest")
@looks
def expect_suggest(
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help="Time zone of the proposed times, such as Europe/Paris; default: this machine's.")
    ] = "",
    days: Annotated[int, typer.Option(min=7, max=3650, help="Look at what came in the last so many days.")] = 90,
    json: Json = False,
) -> None:
    """Propose what could be expected, from what has come: tables for sftpgate.toml, with what was seen.

    Example: sftpgate expect suggest --timezone Europe/Paris
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from sftpgate.app.context import ledger_for_reading, read_settings
    from sftpgate.app.expectations.suggest import as_toml, local_zone, suggest
    from sftpgate.cli.output import emit

    settings, zone = read_settings(), timezone or local_zone()
    with ledger_for_reading(settings) as ledger:
        proposed = suggest(settings, ledger, datetime.now(UTC), zone=zone, days=days)
    if json:
        emit([asdict(each) | {"timezone": zone} for each in proposed], ["path", "by"], json=True)
    elif proposed:
        typer.echo(as_toml(proposed, zone), nl=False)
    else:
        typer.echo(f"nothing came regularly in the last {days} days that is not expected already", err=True)


def _row(expected: object) -> dict[str, object]:
    """Return what is the case for a listing, with its sentence in each language."""
    from dataclasses import asdict

    from sftpgate.app.expectations.overview import Expected
    from sftpgate.settings.choices import Language

    assert isinstance(expected, Expected)
    return asdict(expected) | {"said": {str(language.value): expected.sentence(language) for language in Language}}
