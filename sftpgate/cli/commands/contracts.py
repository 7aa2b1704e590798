"""``sftpgate contract …``: a file, or the archives, held against what a tool's file has to be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import looks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sftpgate.contracts.judge import ContractVerdict
    from sftpgate.contracts.objections import Objection
    from sftpgate.settings.choices import Language

contract_app = typer.Typer(help="Contracts: what a tool's file has to be.", no_args_is_help=True)

Tool = Annotated[str, typer.Argument(metavar="TOOL", help="A tool of the settings.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contract_app.command("check")
@looks
def contract_check(
    tool: Tool,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of this machine.")],
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with this file, not with the one that the tool processed last.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what is wrong with a file, by the contract of a tool. Nothing is sent, held or kept.

    Exit code 0 if nothing is wrong, 6 if something is.

    Example: sftpgate contract check enrols export.csv
    """
    from sftpgate.app.context import read_settings
    from sftpgate.app.contracts import check
    from sftpgate.cli.output import emit_record, shown
    from sftpgate.errors import ExitCode

    settings = read_settings()
    verdict = check(settings, tool, file, against=against)
    if json:
        emit_record(verdict_row(verdict), json=True)
    else:
        typer.echo(f"{shown(str(file))}: {verdict.rows} rows, SHA-256 {verdict.sha256}")
        if verdict.converted_from:
            typer.echo(f"converted from {verdict.converted_from}: all that follows is of what it is converted to")
        for line in objection_lines(verdict, settings.language):
            typer.echo(line)
        if verdict.difference is not None:
            whole = verdict.difference.whole
            typer.echo(f"against {whole.of} rows: {whole.added} added, {whole.changed} changed, {whole.removed} removed")
        if verdict.is_good:
            typer.echo("nothing is wrong with it")
    if not verdict.is_good:
        raise typer.Exit(ExitCode.REFUSED)


@contract_app.command("backtest")
@looks
def contract_backtest(tool: Tool, json: Json = False) -> None:
    """Replay the files that a tool has processed against its contract: which would have been held, and why.

    Example: sftpgate contract backtest enrols
    """
    from sftpgate.app.context import read_settings
    from sftpgate.app.contracts import backtest
    from sftpgate.cli.output import emit, shown

    settings = read_settings()
    rows: list[dict[str, object]] = []
    held = count = 0
    progress = _Progress("files replayed")
    for replay in backtest(settings, tool, progress):
        count += 1
        held += not replay.verdict.is_good
        if json:
            file = {"arrival": replay.file.arrival, "path": replay.file.path, "processed_at": replay.file.at}
            rows.append({**file, **verdict_row(replay.verdict)})
        elif not replay.verdict.is_good:
            progress.clear()
            typer.echo(f"{shown(replay.file.at)} {shown(replay.file.path)} (arrival {replay.file.arrival}):")
            for line in objection_lines(replay.verdict, settings.language):
                typer.echo(f"  {line}")
    progress.clear()
    if json:
        emit(rows, ["processed_at", "path", "rows", "objections"], json=True)
    else:
        typer.echo(f"would have held {held} of {count}")


@contract_app.command("learn")
@looks
def contract_learn(tool: Tool) -> None:
    """Propose a contract from the files that a tool has processed, as a table for sftpgate.toml.

    Example: sftpgate contract learn enrols
    """
    from sftpgate.app.context import read_settings
    from sftpgate.app.contracts import propose

    progress = _Progress("files read")
    try:
        proposal = propose(read_settings(), tool, progress)
    finally:
        progress.clear()
    typer.echo(proposal.text, nl=False)


def verdict_row(verdict: ContractVerdict) -> dict[str, object]:
    """Return a verdict for a script: codes, lines and details, with the sentences in both languages."""
    whole = verdict.difference.whole if verdict.difference is not None else None
    return {
        "good": verdict.is_good,
        "objections": objection_rows(verdict.objections),
        "rows": verdict.rows,
        "size_bytes": verdict.size_bytes,
        "sha256": verdict.sha256,
        "converted_from": verdict.converted_from or None,
        "header": list(verdict.header),
        "against_rows": whole.of if whole else None,
        "added": whole.added if whole else None,
        "changed": whole.changed if whole else None,
        "removed": whole.removed if whole else None,
    }


def objection_rows(objections: Sequence[Objection]) -> list[dict[str, object]]:
    """Return objections for a script."""
    from sftpgate.settings.choices import Language

    return [
        {
            "code": each.code,
            "line": each.line,
            "count": each.count,
            "details": dict(each.details),
            **{str(language.value): each.sentence(language) for language in Language},
            "advice": {str(language.value): each.advice(language) for language in Language},
        }
        for each in objections
    ]


def objection_lines(verdict: ContractVerdict, language: Language) -> list[str]:
    """Return a line for each objection: its code, the sentence, and what to do."""
    return [f"{each.code}: {each.sentence(language)} {each.advice(language)}" for each in verdict.objections]


class _Progress:
    """A line on a terminal that says how far a command is; nothing if nobody watches."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_watched = sys.stderr.isatty()
        self._length = 0

    def __call__(self, done: int, of: int) -> None:
        """Say how much is done, of how much."""
        self._show(f"{done} of {of} {self._what}")

    def clear(self) -> None:
        """Take the line away."""
        self._show("")

    def _show(self, line: str) -> None:
        if self._is_watched:
            typer.echo(f"\r{line.ljust(self._length)}" + ("" if line else "\r"), nl=False, err=True)
            self._length = len(line)
