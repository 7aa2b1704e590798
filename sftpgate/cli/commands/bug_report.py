"""``sftpgate report-bug``: what helps somebody else to understand a fault."""

from __future__ import annotations

from typing import Annotated

import typer

from sftpgate.cli.command_record import looks


@looks
def report_bug(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print versions, settings, findings and counts for a bug report: no names, paths, addresses, contents or secrets.

    Read it before you send it. Run it as the user that the server runs as.

    Example: sudo -u sftpgate sftpgate report-bug > report.txt
    """
    from datetime import UTC, datetime

    from sftpgate.app.context import ledger_of_any_version, read_settings
    from sftpgate.app.doctor.bug_report import bug_report
    from sftpgate.cli.output import emit_record

    settings = read_settings()
    with ledger_of_any_version(settings) as ledger:
        report = bug_report(settings, ledger, datetime.now(UTC))
    if json:
        emit_record(report, json=True)
        return
    for section, content in report.items():
        typer.echo(f"\n{section}")
        rows = content if isinstance(content, list) else [content]
        for row in rows:
            emit_record(row if isinstance(row, dict) else {"state": row})
