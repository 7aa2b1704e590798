"""What a sender finds under /reports about files that no tool ran on."""

from __future__ import annotations

import hashlib

import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Request
from tests.harness.gates import Start


@pytest.mark.promise("P7", "P8")
async def test_a_held_file_is_explained_to_its_sender(start: Start) -> None:
    """The sender of a held file finds one report that says why and what to do; nobody else sees it."""
    async with start(sweep_interval=0.05) as gate, gate.raw() as raw, gate.raw("other") as other:
        await raw.put("a.csv.sha256", hashlib.sha256(b"whole\n").hexdigest().encode())
        assert await raw.put("a.csv", b"half\n") == Status.OK
        await gate.until("sender.told")
        [name] = await raw.listing("/reports")
        text = (await raw.get(f"/reports/{name}")).decode()
        assert "reason: checksum mismatch\n" in text and "what next: Send the file again" in text
        assert str(gate.directory) not in text
        assert await other.listing("/reports") == []
        assert (await other.on(Request.STAT, f"/reports/{name}")).status == Status.NO_SUCH_FILE
        assert (await raw.on(Request.REMOVE, f"/reports/{name}")).status == Status.PERMISSION_DENIED
        assert await raw.put("a.csv", b"whole\n") == Status.OK
        assert gate.in_store() == {"a.csv": b"whole\n"}
        assert await raw.listing("/reports") == [name]
