"""``sftpgate receipts``: what the sender of a file was told of it; and ``verify --receipt``: whether that is ours and true."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftpgate.cli.command_record import looks
from sftpgate.errors import ExitCode

_MOST_BYTES = 4 * 1024 * 1024  # of a file that is shown as a receipt: none of ours is near it

COLUMNS = ("number", "state", "at", "record", "file")


@looks
def receipts(
    arrival: Annotated[
        str, typer.Argument(metavar="ARRIVAL", help="The id of an arrival, or as much of its beginning as is unique.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print the receipts themselves, as a list.")] = False,
) -> None:
    """List the receipts of a file: what its sender was told of it, and when.

    Example: sftpgate receipts 01JBCXYZ
    """
    from dataclasses import asdict

    from sftpgate.app import receipts as app
    from sftpgate.app.context import ledger_for_reading, read_settings
    from sftpgate.cli.output import emit

    settings = read_settings()
    with ledger_for_reading(settings) as ledger:
        found = app.of_arrival(ledger, arrival)
    if json:
        emit([app.as_sent(each) for each in found], [], json=True)
    else:
        emit([{**asdict(each), "file": each.file} for each in found], list(COLUMNS), json=False)


def verify_receipt(file: Path, *, json: bool) -> None:
    """Say of a receipt, whose signature lies beside it, what can be told. Ends with status 1 if something is wrong with it."""
    from dataclasses import asdict

    from sftpgate.app import receipts as app
    from sftpgate.app.context import ledger_for_reading, read_settings
    from sftpgate.cli.output import emit

    settings = read_settings()
    body, signature = _read(file), _read(file.with_name(f"{file.name}.sig"))
    with ledger_for_reading(settings) as ledger:
        found = app.verify(settings, ledger, body, signature.decode("utf-8", "replace"))
    rows = [{"rule": each.rule, "good": _word(each.is_good), "explanation": each.explanation} for each in found]
    emit([asdict(each) for each in found] if json else rows, ["good", "rule", "explanation"], json=json)
    if any(each.is_good is False for each in found):
        raise typer.Exit(ExitCode.FAILED)


def _word(is_good: bool | None) -> str:
    return "not known" if is_good is None else "yes" if is_good else "no"


def _read(file: Path) -> bytes:
    from sftpgate.errors import NotFound
    from sftpgate.regular_files import read_regular

    try:
        return read_regular(file, _MOST_BYTES)
    except OSError as error:
        raise NotFound(
            f"{file}: {error.strerror}; a receipt lies beside its signature, NAME.json beside NAME.json.sig"
        ) from error
