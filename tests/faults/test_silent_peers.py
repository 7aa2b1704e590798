"""Clients that say nothing: one whose machine is gone, and one that only has work to do."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import asyncssh
import pytest

from tests.harness.raw import WAIT_SECONDS
from tests.harness.servers import Gate, cut_the_line, until

CONTENT = b"a,1\n" * 1000


def be_silent(connection: asyncssh.SSHClientConnection) -> None:
    """Answer no request of the server's: as libssh2 does while nobody calls it."""
    connection._report_global_response = lambda *_: None  # type: ignore[method-assign]


@pytest.mark.promise("P1")
async def test_a_silent_client_is_not_a_dead_one(base: Path) -> None:
    """A client that answers no keepalive goes on with its upload when another one, whose machine is gone, was cut off."""
    with Gate(base, KEEPALIVE_INTERVAL="1s") as gate:
        gate.start()
        line = socket.create_connection(("127.0.0.1", gate.port))
        dead = await gate.connect("other", sock=line)
        busy = await gate.connect()
        be_silent(busy)
        async with asyncio.timeout(WAIT_SECONDS), busy.start_sftp_client() as client:
            file = await client.open("a.csv", "wb")
            await file.write(CONTENT[:2000])
            cut_the_line(line)

            def is_cut_off() -> bool:
                return "acknowledges nothing" in gate.log.read_text(encoding="utf-8")

            await asyncio.to_thread(until, is_cut_off, "the dead one is cut off")
            await file.write(CONTENT[2000:])
            await file.close()
        assert gate.in_store("a.csv") == CONTENT
        assert gate.log.read_text(encoding="utf-8").count("acknowledges nothing") == 1
        busy.abort()
        dead.abort()
