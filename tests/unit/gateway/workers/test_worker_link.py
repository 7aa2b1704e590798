"""The link between supervisor and worker."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

from sftpgate.gateway.workers.worker_link import MessageKind, WorkerLink, WorkerMessage


async def test_a_message_carries_a_socket() -> None:
    """A connection that is sent works at the other end, and is closed at ours."""
    ours, theirs = WorkerLink.pair()
    arrived: asyncio.Future[tuple[WorkerMessage, socket.socket | None]] = asyncio.get_running_loop().create_future()
    one = WorkerLink(ours, lambda *_: None, lambda: None)
    other = WorkerLink(theirs, lambda message, carried: arrived.set_result((message, carried)), lambda: None)
    near, far = socket.socketpair()
    one.send(WorkerMessage(MessageKind.CONNECTION, 7), far)
    message, carried = await arrived
    assert message == WorkerMessage(MessageKind.CONNECTION, 7)
    assert far.fileno() == -1
    assert carried is not None
    with closing(near), closing(carried):
        near.send(b"x")
        assert carried.recv(1) == b"x"
    one.close()
    other.close()


async def test_what_does_not_fit_waits() -> None:
    """Thousands of messages to an end that does not read are all there when it does, in order."""
    ours, theirs = WorkerLink.pair()
    one = WorkerLink(ours, lambda *_: None, lambda: None)
    for number in range(5000):
        one.send(WorkerMessage(MessageKind.CLOSED, number))
    seen: list[int] = []
    done = asyncio.Event()

    def received(message: WorkerMessage, _: socket.socket | None) -> None:
        seen.append(message.connection)
        if len(seen) == 5000:
            done.set()

    other = WorkerLink(theirs, received, lambda: None)
    async with asyncio.timeout(10):
        await done.wait()
    assert seen == list(range(5000))
    one.close()
    other.close()


async def test_the_end_of_the_other_process_is_the_end_of_the_link() -> None:
    """``ended`` is called once; what is sent afterwards is dropped, and a socket that it carries is closed."""
    ours, theirs = WorkerLink.pair()
    ends: list[str] = []
    ended = asyncio.Event()

    def end() -> None:
        ends.append("ended")
        ended.set()

    one = WorkerLink(ours, lambda *_: None, end)
    theirs.close()
    async with asyncio.timeout(10):
        await ended.wait()
    near, far = socket.socketpair()
    one.send(WorkerMessage(MessageKind.CONNECTION, 1), far)
    assert far.fileno() == -1
    near.close()
    assert ends == ["ended"]
