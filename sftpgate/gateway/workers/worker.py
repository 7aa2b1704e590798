"""A worker: one process that serves the connections which the supervisor hands to it.

A worker whose supervisor is gone lets uploads in flight finish, and ends: nobody would give it anything to do. One whose
sandbox does not fit any more asks for another to take its place. Once it is replaced it does not wait for its last client
as others do: it could not see whom the new keys directory shuts out.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from sftpgate.gateway.admission.client import AdmissionClient
from sftpgate.gateway.gate import Gate
from sftpgate.gateway.workers.supervisor import HEARTBEAT_SECONDS
from sftpgate.gateway.workers.worker_link import MessageKind, WorkerLink, WorkerMessage
from sftpgate.logs import get_logger

log = get_logger("gate")

BOUNDS_SECONDS = 5.0  # how soon a new keys directory counts; a look at it costs a stat for each user


async def work(gate: Gate, supervisor: socket.socket, sandbox_stale: Callable[[], Awaitable[bool]], *, leader: bool) -> None:
    """Serve until the supervisor says stop, or is gone. ``supervisor`` is our end of the link; ``sandbox_stale`` tells whether
    the sandbox does not fit any more, which the leader passes on.
    """
    retiring, misfit = asyncio.Event(), asyncio.Event()
    admission_clients: dict[int, AdmissionClient] = {}

    def send(message: WorkerMessage) -> None:
        if message.kind is MessageKind.CLOSED:
            del admission_clients[message.connection]
        link.send(message)

    def received(message: WorkerMessage, carried: socket.socket | None) -> None:
        number = message.connection
        match message.kind:
            case MessageKind.CONNECTION if carried is not None:
                admission_clients[number] = AdmissionClient(number, send)
                gate.take(carried, admission_clients[number])
            case MessageKind.ANSWER | MessageKind.HANG_UP if number in admission_clients:
                admission_clients[number].received(message)
            case MessageKind.RETIRE:
                retiring.set()
                if misfit.is_set():
                    gate.stop()
                gate.retire()
            case MessageKind.STOP:
                gate.stop()
            case _:
                pass

    def alone() -> None:
        for admission_client in admission_clients.values():
            admission_client.lost()
        gate.stop()

    link = WorkerLink(supervisor, received, alone)

    async def watch_bounds() -> None:
        await gate.ready.wait()
        while True:
            if await sandbox_stale():
                break
            await asyncio.sleep(BOUNDS_SECONDS)
        log.warning("sandbox.stale", reason="directories or links are others than when this process started")
        misfit.set()
        if retiring.is_set():
            gate.stop()
        elif leader:
            link.send(WorkerMessage(MessageKind.SANDBOX_STALE))

    beside = [asyncio.create_task(_beat(gate, link)), asyncio.create_task(watch_bounds())]
    try:
        await gate.run()
    finally:
        for task in beside:
            task.cancel()
        link.close()


async def _beat(gate: Gate, link: WorkerLink) -> None:
    """Say that the loop turns."""
    await gate.ready.wait()
    link.send(WorkerMessage(MessageKind.READY))
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        link.send(WorkerMessage(MessageKind.ALIVE))
