"""``sftpgate diff`` and ``undo``: what a file would do, or did, row by row, and the file that undoes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import changes, looks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sftpgate.app.differences import Compared, Shown
    from sftpgate.contracts.difference import Counts
    from sftpgate.contracts.row_changes import Row

Id = Annotated[str, typer.Argument(metavar="ARRIVAL", help="The id of an arrival, or as much of its beginning as is unique.")]
_SHOWN_ROWS = 10
_SHOWN_GROUPS = 20


@looks
def diff(
    arrival: Id,
    rows: Annotated[int, typer.Option(min=0, help="Show so many rows of each kind.")] = _SHOWN_ROWS,
    removed_csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the rows that are gone to a new file, for a spreadsheet.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with this file, not with the one that the tool processed before.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a file would do: the rows that it adds, changes and removes, against the file that its tool processed last.

    Of a file that was processed already: against the one before it.

    Example: sftpgate diff 01JZ8Q

    Example: sftpgate diff 01JZ8Q --removed-csv gone.csv
    """
    from sftpgate.app.context import read_settings
    from sftpgate.app.differences import compare, show
    from sftpgate.cli.output import emit_record

    compared = compare(read_settings(), arrival, against=against)
    found = show(compared, rows=rows)
    if removed_csv is not None:
        _write_removed(compared, removed_csv)
    if json:
        emit_record(_record(found), json=True)
    else:
        _print(found)


def _write_removed(compared: Compared, file: Path) -> None:
    from sftpgate.app.differences import write_removed
    from sftpgate.contracts import spreadsheet
    from sftpgate.errors import Refused

    try:
        with file.open("x", encoding=spreadsheet.ENCODING, newline="") as out:
            count = write_removed(compared, out)
    except FileExistsError as error:
        raise Refused(f"{file} is there already: name a new file") from error
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}") from error
    typer.echo(f"{file}: {count} rows", err=True)


def _print(found: Shown) -> None:
    from sftpgate.cli.output import shown

    item, whole = found.arrival, found.whole
    if found.against is not None:
        last = f"{shown(found.against.path)} (arrival {found.against.arrival}), which {found.tool} processed"
        typer.echo(f"{shown(item.path)} (arrival {item.id}), {found.rows} rows, against {last} at {shown(found.against.at)}:")
    else:
        typer.echo(f"{shown(item.path)} (arrival {item.id}), {found.rows} rows:")
    typer.echo(_counted(whole))
    if found.is_delta:
        typer.echo(f"the files of {found.tool} are deltas: what is not in one is left alone")
    for name, counts in found.groups[:_SHOWN_GROUPS]:
        typer.echo(f"  {shown(name) or '(empty)'}: {_counted(counts)}")
    if len(found.groups) > _SHOWN_GROUPS:
        typer.echo(f"  and {len(found.groups) - _SHOWN_GROUPS} more groups")
    _print_rows("removed", found.removed, whole.removed)
    if found.changed:
        typer.echo(_heading("changed", len(found.changed), whole.changed))
    for pair in found.changed:
        typer.echo(f"  line {pair.after.line}: {_text(pair.after)}")
        typer.echo(f"    was line {pair.before.line}: {_text(pair.before)}")
    _print_rows("added", found.added, whole.added)


def _print_rows(kind: str, rows: Sequence[Row], count: int) -> None:
    if rows:
        typer.echo(_heading(kind, len(rows), count))
    for row in rows:
        typer.echo(f"  line {row.line}: {_text(row)}")


def _heading(kind: str, shown_rows: int, count: int) -> str:
    return f"{kind}:" if shown_rows == count else f"{kind}, the first {shown_rows} of {count}:"


def _counted(counts: Counts) -> str:
    return f"{counts.of} rows before: {counts.added} added, {counts.changed} changed, {counts.removed} removed"


def _text(row: Row) -> str:
    from sftpgate.logs import printable

    return printable(" | ".join(row.fields))


def _record(found: Shown) -> dict[str, object]:
    """Return a difference for a script; rows are objects by the names of their columns."""
    against = found.against
    return {
        "arrival": found.arrival.id,
        "path": found.arrival.path,
        "sha256": found.arrival.sha256,
        "tool": found.tool,
        "kind": "delta" if found.is_delta else "snapshot",
        "against": None
        if against is None
        else {"arrival": against.arrival, "path": against.path, "sha256": against.sha256, "processed_at": against.at},
        "rows": found.rows,
        **_numbers(found.whole),
        "groups": [{"group": name, **_numbers(counts)} for name, counts in found.groups],
        "added_rows": [_named(row, found.new_header) for row in found.added],
        "changed_rows": [
            {"before": _named(pair.before, found.old_header), "after": _named(pair.after, found.new_header)}
            for pair in found.changed
        ],
        "removed_rows": [_named(row, found.old_header) for row in found.removed],
    }


def _numbers(counts: Counts) -> dict[str, object]:
    return {"rows_before": counts.of, "added": counts.added, "changed": counts.changed, "removed": counts.removed}


def _named(row: Row, header: Sequence[str]) -> dict[str, object]:
    return {"line": row.line, "row": dict(zip(header, row.fields, strict=True))}


@changes
def undo(
    arrival: Id,
    print_only: Annotated[bool, typer.Option("--print", help="Print the file that would be made, and make nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the file that undoes what a processed file did, and hold it until people approve it. It never runs by itself.

    It has commands, if the contract of the tool has templates for them, and is a snapshot otherwise.

    Example: sftpgate undo 01JZ8Q
    """
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.undo import inverse, propose
    from sftpgate.cli.command_record import only_looked
    from sftpgate.cli.commands.arrivals import arrival_row
    from sftpgate.cli.output import emit_record, shown
    from sftpgate.ledger.audit import actor

    with opened(read_settings()) as site:
        if print_only:
            only_looked()
            content = inverse(site, arrival)[2].content
            typer.echo(content, nl=False)
            return
        made = propose(site, actor.command(), arrival)
    item, what = made.arrival, made.inverse
    if json:
        counts = {"undoes": made.undone.id, "rows": what.rows, "left": what.left, "is_commands": what.is_commands}
        emit_record({**arrival_row(item), **counts}, json=True)
        return
    kind = "commands" if what.is_commands else "rows"
    typer.echo(f"{shown(item.path)} with {what.rows} {kind} undoes arrival {made.undone.id}, and is held (arrival {item.id})")
    if what.left:
        typer.echo(f"{what.left} rows are left as they are: they were changed since, or no template speaks of them")
    typer.echo(f"look at it with `sftpgate undo {made.undone.id} --print`; then `sftpgate approve {item.id} --reason …`")
