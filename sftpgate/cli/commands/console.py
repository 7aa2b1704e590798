"""``sftpgate console``: the process of API and console; what it does is in ``web.process``."""

from __future__ import annotations

from typing import Annotated

import typer

from sftpgate.cli.command_record import records_itself


@records_itself
def console(
    listeners: Annotated[list[int], typer.Argument(help="Descriptors of the sockets to serve on.")],
    parent: Annotated[int, typer.Option(help="Process with which this one ends.")],
) -> None:
    """Serve API and console, for `sftpgate serve`, which starts it.

    Example: sftpgate console --parent 4711 5
    """
    import socket

    from sftpgate import logs
    from sftpgate.app.context import become_owner, use_scratch
    from sftpgate.gateway.workers.sandbox import hide_memory
    from sftpgate.settings.reading import load

    loaded = load()
    use_scratch(loaded)
    from sftpgate.api import routes as api
    from sftpgate.console import pages
    from sftpgate.web.process import serve

    become_owner(loaded.store)
    logs.configure(loaded.log_level, serving=True)
    hide_memory()
    serve(loaded, [socket.socket(fileno=number) for number in listeners], parent, (api.routes, pages.routes))
