"""What clients do is on the audit record: who, from where, what, and by which rule it was refused (P8)."""

from __future__ import annotations

import asyncssh
import pytest

from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.actor import SYSTEM, sender
from sftpgate.ledger.audit.event_log import Event, Wanted
from tests.harness.gates import Gate, Start


def recorded(gate: Gate) -> list[Event]:
    """The record, which must be a whole chain; read from the file, when the gate has ended."""
    with gate.ledger() as connection:
        assert chain.verify(connection) is None
        return [record.event for record in event_log.search(connection, Wanted())]


@pytest.mark.promise("P8")
async def test_a_visit(start: Start) -> None:
    """Login, every change by path, every refusal and the end of a session are recorded, with user and address, and so are
    start and stop of the gate.
    """
    async with start() as gate:
        async with gate.sftp() as client:
            async with client.open("/sync/a.tmp", "wb") as file:
                await file.write(b"a,b\n1,2\n")
            await client.rename("/sync/a.tmp", "/sync/a.csv")
            await client.mkdir("/sync/d")
            await client.rmdir("/sync/d")
            await client.truncate("/sync/a.csv", 4)
            await client.remove("/sync/a.csv")
            with pytest.raises(asyncssh.SFTPError):
                await client.mkdir("/sync/archives/x")
    events = recorded(gate)
    mine = [event for event in events if event.actor == sender("erp")]
    assert {event.address for event in mine} == {"127.0.0.1"}
    assert "login.accepted" in {event.event for event in mine}
    done = [
        (event.details["request"], event.details["path"], event.details.get("to"))
        for event in mine
        if event.event == "request.done"
    ]
    assert done == [
        ("rename", "/sync/a.tmp", "/sync/a.csv"),
        ("mkdir", "/sync/d", None),
        ("rmdir", "/sync/d", None),
        ("set size 4", "/sync/a.csv", None),
        ("remove", "/sync/a.csv", None),
    ]
    [refused] = [event for event in mine if event.event == "request.refused"]
    assert "rule: reserved directories" in str(refused.details["reason"])
    assert [event.details["uploads"] for event in mine if event.event == "session.closed"] == [1]
    system = [event.event for event in events if event.actor == SYSTEM]
    assert system[0] == "audit.begun"
    assert {"gate.started", "worker.stopped"} <= set(system)


@pytest.mark.promise("P8")
async def test_who_is_not_let_in(start: Start) -> None:
    """A refused login is recorded with the rule; a name that cannot be a user's cannot pass for somebody either."""
    async with start() as gate:
        for name in ("nobody", "cli:root(0)"):
            with pytest.raises(asyncssh.Error):
                await gate.connect(name)
    refused = [event for event in recorded(gate) if event.event == "login.refused"]
    assert {(str(event.actor), event.details.get("claimed_user")) for event in refused} == {
        ("nobody", None),
        ("?", "cli:root(0)"),
    }
    assert {event.address for event in refused} == {"127.0.0.1"}
    assert all(event.details["reason"] for event in refused)


@pytest.mark.promise("P8")
async def test_which_file_failed(start: Start) -> None:
    """A request that failed is on the record with its path as the sender sees it, the code and the rule."""
    async with start(max_upload_bytes=1000) as gate:
        async with await gate.connect("homed") as connection, connection.start_sftp_client() as client:
            with pytest.raises(asyncssh.SFTPError):
                await client.open("_x/a.csv", "wb")  # no such directory
            with pytest.raises(asyncssh.SFTPError):
                await client.rename("gone.csv", "new.csv")
            with pytest.raises(asyncssh.SFTPError):
                await client.mkdir("/elsewhere")
            with pytest.raises(asyncssh.SFTPError):
                async with client.open("large.csv", "wb") as file:
                    await file.write(b"x" * 1001)
            await client.exists("not-there.csv")  # a client that only looks
            with pytest.raises(asyncssh.SFTPError):
                await client.posix_rename("gone.csv", "new.csv")
    found = [event for event in recorded(gate) if event.event == "request.refused"]
    assert {event.actor for event in found} == {sender("homed")}
    told = [tuple(event.details.get(name) for name in ("request", "path", "to", "code", "rule")) for event in found]
    assert told[:3] == [
        ("open for writing", "/sync/_x/a.csv", None, "no_such_file", None),
        ("rename", "/sync/gone.csv", "/sync/new.csv", "no_such_file", None),
        ("mkdir", "/elsewhere", None, "permission_denied", "only /sync is writable"),
    ]
    assert ("write", "/sync/large.csv", None, "failure", "max_upload_bytes") in told
    assert [line[:2] for line in told if line[0] == "close"] == [("close", "/sync/large.csv")]
    assert told[-1][:3] == ("posix-rename", "/sync/gone.csv", "/sync/new.csv")
    assert not any("not-there.csv" in str(event.details) for event in recorded(gate))
