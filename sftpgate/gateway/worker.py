"""A worker: one process that serves the connections which the supervisor hands to it.

A worker whose supervisor is gone lets uploads in flight finish, and ends: nobody would give it anything to do. One whose
confinement does not fit any more asks for another to take its place. Once it is replaced it does not wait for its last client
as others do: it could not see whom the new keys directory shuts out.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from sftpgate.gateway.entrance import Entrance
from sftpgate.gateway.link import Kind, Link, Message
from sftpgate.gateway.server import Gate
from sftpgate.gateway.supervisor import HEARTBEAT_SECONDS
from sftpgate.logs import get_logger

log = get_logger("gate")

BOUNDS_SECONDS = 5.0  # how soon a new keys directory counts; a look at it costs a stat for each user


async def work(gate: Gate, supervisor: socket.socket, outgrown: Callable[[], Awaitable[bool]], *, chief: bool) -> None:
    """Serve until the supervisor says stop, or is gone. ``supervisor`` is our end of the link; ``outgrown`` tells whether the
    confinement does not fit any more, which the chief passes on.
    """
    retiring, misfit = asyncio.Event(), asyncio.Event()
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
                retiring.set()
                if misfit.is_set():
                    gate.stop()
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

    async def watch_bounds() -> None:
        await gate.ready.wait()
        while True:
            if await outgrown():
                break
            await asyncio.sleep(BOUNDS_SECONDS)
        log.warning("sandbox.outgrown", reason="directories or links are others than when this process started")
        misfit.set()
        if retiring.is_set():
            gate.stop()
        elif chief:
            link.send(Message(Kind.OUTGROWN))

    beside = [asyncio.create_task(_beat(gate, link)), asyncio.create_task(watch_bounds())]
    try:
        await gate.run()
    finally:
        for task in beside:
            task.cancel()
        link.close()


async def _beat(gate: Gate, link: Link) -> None:
    """Say that the loop turns."""
    await gate.ready.wait()
    link.send(Message(Kind.READY))
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        link.send(Message(Kind.ALIVE))
