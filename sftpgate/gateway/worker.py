"""A worker: one process that serves the connections which the supervisor hands to it.

A worker whose supervisor is gone lets uploads in flight finish, and ends: nobody would give it anything to do.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from sftpgate.gateway.link import Kind, Link, Message
from sftpgate.gateway.server import Gate
from sftpgate.gateway.supervisor import HEARTBEAT_SECONDS


async def work(gate: Gate, supervisor: socket.socket) -> None:
    """Serve until the supervisor says stop, or is gone. ``supervisor`` is our end of the link."""

    def received(message: Message, carried: socket.socket | None) -> None:
        match message.kind:
            case Kind.CONNECTION if carried is not None:
                gate.take(carried, ended=partial(link.send, Message(Kind.CLOSED, message.connection)))
            case Kind.RETIRE:
                gate.retire()
            case Kind.STOP:
                gate.stop()
            case _:
                pass

    link = Link(supervisor, received, gate.stop)
    beating = asyncio.create_task(_beat(gate, link))
    try:
        await gate.run()
    finally:
        beating.cancel()
        link.close()


async def _beat(gate: Gate, link: Link) -> None:
    """Say that the loop turns."""
    await gate.ready.wait()
    link.send(Message(Kind.READY))
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        link.send(Message(Kind.ALIVE))
