"""``sftpgate serve``: the gate in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sftpgate.settings import Settings


def serve() -> None:
    """Serve SFTP in the foreground. Prints one line with the address when ready. SIGTERM lets uploads in flight finish, then
    stops; SIGHUP reads the settings anew and loses no connection.

    Example: SFTPGATE_PORT=2222 sftpgate serve
    """
    import asyncio

    from sftpgate import logs, settings
    from sftpgate.cli.context import become_owner, require_gate
    from sftpgate.cli.notify import ServiceManager
    from sftpgate.cli.supervise import run_supervisor
    from sftpgate.gateway.confinement import hide_memory
    from sftpgate.gateway.supervisor import WorkerFailed, exit_code

    loaded = settings.load()
    require_gate(loaded)
    if not loaded.run_as:
        become_owner(loaded.store)
    logs.configure(loaded.log_level, serving=True)
    hide_memory()
    try:
        asyncio.run(run_supervisor(loaded, lambda line: typer.echo(line), ServiceManager()))
    except WorkerFailed as error:
        raise typer.Exit(exit_code(error)) from None


def worker(
    link: Annotated[int, typer.Argument(help="Descriptor of the link to the supervisor.")],
    number: Annotated[int, typer.Option(help="Which worker this is, in the log.")] = 0,
    chief: Annotated[bool, typer.Option("--chief", help="Sweep too.")] = False,
    recovering: Annotated[bool, typer.Option("--recovering", help="Put right what a crash left.")] = False,
) -> None:
    """One worker process of `sftpgate serve`, which starts it.

    Example: sftpgate worker 5 --number 1 --chief
    """
    import os
    import signal
    import socket
    import warnings

    import uvloop

    from sftpgate import logs, settings
    from sftpgate.cli.context import become_owner
    from sftpgate.gateway.confinement import SCRATCH_VARIABLE, hide_memory

    loaded = settings.load()
    os.environ.setdefault(SCRATCH_VARIABLE, str(_scratch(loaded)))  # read when the library is loaded, and never again
    from sftpgate.cli.gate import run_worker

    # which key exchange a client may use is the profile's business, and the log's; this would be said at random
    warnings.filterwarnings("ignore", message="Diffie-Hellman over finite fields")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the supervisor too, which tells us
    become_owner(loaded.store)
    logs.configure(loaded.log_level, worker=number, serving=True)
    hide_memory()
    uvloop.run(run_worker(loaded, socket.socket(fileno=link), chief=chief, recovering=recovering))


def _scratch(settings: Settings) -> Path:
    """A directory that a confined worker may write in: SQLite sorts in files, and would take /var/tmp."""
    from sftpgate.policy.names import MANAGED_NAME

    elsewhere = settings.store_dir and settings.drop_dir and settings.ledger_url
    return settings.store / MANAGED_NAME if elsewhere else settings.data_dir
