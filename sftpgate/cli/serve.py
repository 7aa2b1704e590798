"""``sftpgate serve``: the gate in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import typer


def serve() -> None:
    """Serve SFTP in the foreground. Prints one line with the address when ready; SIGTERM lets uploads in flight finish,
    then stops.

    Example: SFTPGATE_PORT=2222 sftpgate serve
    """
    import uvloop

    from sftpgate import logs, settings
    from sftpgate.cli.context import become_owner
    from sftpgate.cli.gate import run_gate

    loaded = settings.load()
    become_owner(loaded.store)
    logs.configure(loaded.log_level)
    uvloop.run(run_gate(loaded, lambda line: typer.echo(line)))
