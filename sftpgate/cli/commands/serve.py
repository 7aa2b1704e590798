"""``sftpgate serve``: the gate in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

from typing import Annotated

import typer

from sftpgate.cli.command_record import records_itself


@records_itself
def serve() -> None:
    """Serve SFTP in the foreground. Prints one line with the address when ready. SIGTERM lets uploads in flight finish, then
    stops; SIGHUP reads the settings anew and loses no connection.

    Example: SFTPGATE_PORT=2222 sftpgate serve
    """
    import asyncio

    from sftpgate import logs
    from sftpgate.app.context import become_owner, require_gate
    from sftpgate.app.serving.service_manager import ServiceManager
    from sftpgate.app.serving.supervisor_process import run_supervisor
    from sftpgate.gateway.workers.sandbox import hide_memory
    from sftpgate.gateway.workers.supervisor import WorkerFailed, exit_code
    from sftpgate.settings.reading import load

    loaded = load()
    require_gate(loaded)
    if not loaded.run_as:
        become_owner(loaded.store)
    logs.configure(loaded.log_level, serving=True)
    hide_memory()
    try:
        asyncio.run(run_supervisor(loaded, lambda line: typer.echo(line), ServiceManager()))
    except WorkerFailed as error:
        raise typer.Exit(exit_code(error)) from None


@records_itself
def worker(
    link: Annotated[int, typer.Argument(help="Descriptor of the link to the supervisor.")],
    number: Annotated[int, typer.Option(help="Which worker this is, in the log.")] = 0,
    leader: Annotated[bool, typer.Option("--leader", help="Sweep too.")] = False,
    recovering: Annotated[bool, typer.Option("--recovering", help="Put right what a crash left.")] = False,
) -> None:
    """Serve as one worker process of `sftpgate serve`, which starts it.

    Example: sftpgate worker 5 --number 1 --leader
    """
    import signal
    import socket
    import warnings

    import uvloop

    from sftpgate import logs
    from sftpgate.app.context import become_owner, use_scratch
    from sftpgate.gateway.workers.sandbox import hide_memory
    from sftpgate.settings.reading import load

    loaded = load()
    use_scratch(loaded)
    from sftpgate.app.serving.worker_process import run_worker

    # which key exchange a client may use is the profile's business, and the log's; this would be said at random
    warnings.filterwarnings("ignore", message="Diffie-Hellman over finite fields")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the supervisor too, which tells us
    become_owner(loaded.store)
    logs.configure(loaded.log_level, worker=number, serving=True)
    hide_memory()
    uvloop.run(run_worker(loaded, socket.socket(fileno=link), leader=leader, recovering=recovering))


@records_itself
def follow(parent: Annotated[int, typer.Option(help="Process with which this one ends.")]) -> None:
    """Do what follows from what has happened, for `sftpgate serve`, which starts it: receipts, and what is to be told.

    Example: sftpgate follow --parent 4711
    """
    import signal
    from threading import Event

    from sftpgate import logs
    from sftpgate.app.context import become_owner, use_scratch
    from sftpgate.gateway.workers.sandbox import hide_memory
    from sftpgate.settings.reading import load

    stopping = Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the supervisor too, which tells us
    loaded = load()
    use_scratch(loaded)
    from sftpgate.app.serving.followers import run_until

    become_owner(loaded.store)
    logs.configure(loaded.log_level, serving=True)
    hide_memory()
    run_until(loaded, stopping, parent)


@records_itself
def deliver(parent: Annotated[int, typer.Option(help="Process with which this one ends.")]) -> None:
    """Deliver notifications, for `sftpgate serve`, which starts it.

    Example: sftpgate deliver --parent 4711
    """
    import asyncio
    import signal

    from sftpgate import logs
    from sftpgate.app.context import become_owner
    from sftpgate.app.serving.notifier import run_notifier
    from sftpgate.gateway.workers.sandbox import hide_memory
    from sftpgate.settings.reading import load

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the supervisor too, which tells us
    loaded = load()
    become_owner(loaded.store)
    logs.configure(loaded.log_level, serving=True)
    hide_memory()
    asyncio.run(run_notifier(loaded, parent))
