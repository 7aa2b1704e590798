"""Binding and accepting."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import closing

import pytest

from sftpgate.errors import SettingsError
from sftpgate.gateway.workers import listening
from sftpgate.gateway.workers.listening import Acceptor, bind


def test_a_port_in_use_is_said() -> None:
    """A port that another program has is a setting to change, in one line."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        with pytest.raises(SettingsError, match="choose another SFTPGATE_PORT"):
            bind("127.0.0.1", other.getsockname()[1])


def test_a_name_that_does_not_exist_is_said() -> None:
    """A host that cannot be resolved is a setting to change."""
    with pytest.raises(SettingsError, match="cannot listen on no such host"):
        bind("no such host", 0)


def test_every_address_has_the_same_port() -> None:
    """An empty host means all addresses, of both families where the machine has them, on one port."""
    listeners = bind("", 0)
    ports = {listener.getsockname()[1] for listener in listeners}
    for listener in listeners:
        listener.close()
    assert len(ports) == 1


class Exhausted(socket.socket):
    """A listener of a process that has no descriptor left, once."""

    refused = 0

    def accept(self) -> tuple[socket.socket, object]:
        """Refuse the first time."""
        if not self.refused:
            self.refused = 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_descriptors_it_pauses_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that cannot be accepted for want of a descriptor is accepted when there is one."""
    monkeypatch.setattr(listening, "PAUSE_SECONDS", 0.01)
    listener = Exhausted(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.setblocking(False)
    taken: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
    acceptor = Acceptor([listener], taken.set_result)
    acceptor.start()
    with closing(socket.create_connection(acceptor.address)):
        async with asyncio.timeout(10):
            (await taken).close()
    acceptor.close()
    assert listener.refused
