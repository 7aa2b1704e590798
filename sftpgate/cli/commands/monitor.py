"""``sftpgate monitor``: the process that shows metrics and health on a loopback port; what it does is in ``monitor.process``."""

from __future__ import annotations

from typing import Annotated

import typer

from sftpgate.cli.command_record import records_itself


@records_itself
def monitor(
    listeners: Annotated[list[int], typer.Argument(help="Descriptors of the sockets to serve on.")],
    parent: Annotated[int, typer.Option(help="Process without which there is nothing to watch.")],
) -> None:
    """Show metrics and health, for `sftpgate serve`, which starts it.

    Example: sftpgate monitor --parent 4711 5
    """
    import asyncio
    import socket

    from sftpgate import logs
    from sftpgate.app.context import become_owner
    from sftpgate.monitor.process import serve
    from sftpgate.settings.reading import load

    loaded = load()
    become_owner(loaded.store)
    logs.configure(loaded.log_level, serving=True)
    asyncio.run(serve(loaded, [socket.socket(fileno=number) for number in listeners], parent))
