"""A worker: one process that serves the connections which the supervisor hands to it.

A worker whose supervisor is gone lets uploads in flight finish, and ends: nobody would give it anything to do.
"""

from __future__ import annotations

import asyncio
import socket

from sftpgate.gateway.entrance import Entrance
from sftpgate.gateway.link import Kind, Link, Message
from sftpgate.gateway.server import Gate
from sftpgate.gateway.supervisor import HEARTBEAT_SECONDS


async def work(gate: Gate, supervisor: socket.socket) -> None:
    """Serve until the supervisor says stop, or is gone. ``supervisor`` is our end of the link."""

    entrances: dict[int, Entrance] = {}

    def send(message: Message) -> None:
        if message.kind is Kind.CLOSED:
            del entrances[message.connection]
        link.send(message)

    def received(message: Message, carried: socket.socket | None) -> None:
        number = message.connection
        match message.kind:
            case Kind.CONNECTION if carried is not None:
                entrances[number] = Entrance(number, send)
                gate.take(carried, entrances[number])
            case Kind.ANSWER | Kind.HANG_UP if number in entrances:
                entrances[number].received(message)
            case Kind.RETIRE:
                gate.retire()
            case Kind.STOP:
                gate.stop()
            case _:
                pass

    def alone() -> None:
        for entrance in entrances.values():
            entrance.lost()
        gate.stop()

    link = Link(supervisor, received, alone)
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
