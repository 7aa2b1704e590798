"""Who is told of the server's host keys after the login."""

from __future__ import annotations

import asyncssh
import pytest
from asyncssh.packet import SSHPacket

from tests.harness.gates import Gate


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("client_version", "is_told"),
    [("OpenSSH_9.9", True), ("AsyncSSH_2.24.1", True), ("phpseclib_3.0 (libsodium)", False), ("JSCH-0.1.54", False)],
)
async def test_only_clients_that_learn_are_told(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, client_version: str, is_told: bool
) -> None:
    """A client that learns host keys is told of all of them; one that answers a request which wants no answer is not."""
    told: list[SSHPacket] = []

    def hear(connection: asyncssh.SSHClientConnection, packet: SSHPacket) -> None:
        told.append(packet)
        connection._report_global_response(False)

    monkeypatch.setattr(asyncssh.SSHClientConnection, "_process_hostkeys_00_at_openssh_dot_com_global_request", hear)
    async with gate.connection(client_version=client_version) as connection, connection.start_sftp_client() as client:
        assert await client.exists(".")
    assert bool(told) is is_told
