"""What a service manager is told, over a real datagram socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.app.serving.service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a manager, named in our environment, with a watchdog of 30 milliseconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        yield listening


def test_ready_stopping_and_beats(manager: socket.socket) -> None:
    """READY, WATCHDOG and STOPPING arrive as sd_notify(3) has them, and children inherit none of the variables."""
    service = ServiceManager()
    assert not [name for name in os.environ if name.startswith(("NOTIFY_", "WATCHDOG_"))]
    with contextlib.closing(service):
        service.ready("serving")
        assert manager.recv(100) == b"READY=1\nSTATUS=serving"

        async def two_beats() -> None:
            beating = asyncio.create_task(service.beat())
            for _ in range(2):
                assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
            beating.cancel()

        asyncio.run(two_beats())
        service.stopping()
        said = {manager.recv(100)}
        while not any(message.startswith(b"STOPPING=1") for message in said):
            said.add(manager.recv(100))


def test_a_loop_that_hangs_does_not_beat(manager: socket.socket) -> None:
    """While the event loop is blocked, no beat is sent: the manager restarts the service then."""
    service = ServiceManager()

    async def hang() -> None:
        beating = asyncio.create_task(service.beat())
        await asyncio.sleep(0)
        assert manager.recv(100) == b"WATCHDOG=1"
        manager.settimeout(0.2)
        with pytest.raises(TimeoutError):
            manager.recv(100)  # blocks the loop for longer than the whole interval
        beating.cancel()

    with contextlib.closing(service):
        asyncio.run(hang())


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"}])
def test_without_a_manager_nothing_happens(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by hand, or with variables that were meant for another process, nothing is said and nothing fails."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    service = ServiceManager()
    service.ready("x")
    service.stopping()
    asyncio.run(asyncio.wait_for(service.beat(), 1))
    service.close()
