"""``sftpgate doctor``: what is wrong with this set-up, and what to do about it. The checks are in ``checks``."""

from __future__ import annotations

from typing import Annotated

import typer

from sftpgate.cli.command_record import looks
from sftpgate.errors import ExitCode


@looks
def doctor(json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False) -> None:
    """Check settings, permissions, filesystems, host keys, users, ledger, tools and port, and say what to do.

    Run it as the user that the server runs as. Exit code 78 if something keeps the gate from working.

    Example: sudo -u sftpgate sftpgate doctor
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from sftpgate.app.context import read_settings
    from sftpgate.app.doctor.checks import examine
    from sftpgate.app.doctor.findings import Finding, Level
    from sftpgate.cli.output import emit
    from sftpgate.errors import SettingsError

    try:
        settings = read_settings()
    except SettingsError as error:
        found = [Finding(level=Level.ERROR, check="settings", finding=error.message, what_to_do="correct the setting")]
    else:
        found = list(examine(settings, datetime.now(UTC)))
    emit([asdict(finding) for finding in found], ["level", "check", "finding", "what_to_do"], json=json)
    if any(finding.level is Level.ERROR for finding in found):
        raise typer.Exit(ExitCode.BAD_SETTINGS)
