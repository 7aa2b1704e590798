"""The verdict of a contract as the answer of a CLOSE, for users who want that."""

from __future__ import annotations

from typing import Any

import asyncssh
import pytest

from sftpgate.errors import StorageError
from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Request
from sftpgate.handover.guard import Guard
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from tests.harness.gates import Gate, Start
from tests.harness.raw import Answer, Raw, string

HEADER = b"uid;name\n"
GOOD, BAD = HEADER + b"u1;a\n", HEADER + b"u1;a;b;c\n=u2;x\n"
CONTRACT: dict[str, Any] = {"header": ["uid", "name"], "key": ["uid"]}
TOOLS: dict[str, Any] = {
    "people": {"file": "people.csv", "command": ["true"], "contract": CONTRACT},
    "queue": {"file": "queue.csv", "arrivals": "queue", "command": ["true"], "contract": CONTRACT},
    "plain": {"file": "plain.csv", "command": ["true"]},
}
PATIENT = {"refuse": "close", "refuse_wait": 30.0, "tools": TOOLS}


async def closed(raw: Raw, path: str, content: bytes) -> Answer:
    """The answer of the CLOSE of a whole upload."""
    handle = await raw.open_file(path)
    assert (await raw.write(handle, 0, content)).status == Status.OK
    return await raw.close(handle)


def found(gate: Gate, path: str) -> list[tuple[ArrivalState, HoldReason | None]]:
    """What the arrivals of a path are."""
    return [(row.state, row.hold_reason) for row in gate.arrivals(path)]


HELD = (ArrivalState.HELD, HoldReason.CONTRACT)


@pytest.mark.promise("P7")
async def test_a_close_that_fails(start: Start) -> None:
    """The CLOSE of a bad file fails, with the sentence as its message; the file is held, seen by its sender, and reported."""
    async with start(**PATIENT, sweep_interval=0.05) as gate, gate.raw() as raw:
        answer = await closed(raw, "people.csv", BAD)
        assert answer.status == Status.FAILURE
        assert answer.message.startswith("line 2: The row has 4 fields, the header 2: u1;a;b;c ")
        assert answer.message.endswith("(1 more: see the report.) The file was received, and is held. (rule: contract)")
        assert found(gate, "people.csv") == [HELD] and gate.in_store() == {}
        assert await raw.listing("/sync") == ["check", "people.csv"]
        await gate.until("sender.told")
        [name] = await raw.listing("/reports")
        assert "u1;a;b;c" in (await raw.get(f"/reports/{name}")).decode()
        [line] = await gate.said("request.refused")
        assert line["rule"] == "contract" and line["path"] == "/sync/people.csv"
        assert (await closed(raw, "people.csv", BAD)).status == Status.FAILURE  # its verdict is known
        assert (await closed(raw, "people.csv", GOOD)).status == Status.OK
        assert gate.in_store() == {"people.csv": GOOD}  # at once: the verdict is there


async def test_what_no_contract_holds(start: Start) -> None:
    """A file of a tool without a contract, and one of no tool, are answered with OK, and no judge is asked."""
    async with start(**PATIENT) as gate, gate.raw() as raw:
        for path in ("plain.csv", "other.csv", "check/people.csv"):
            assert (await closed(raw, path, BAD)).status == Status.OK
        assert gate.in_store() == {"plain.csv": BAD, "other.csv": BAD}


@pytest.mark.promise("P7")
async def test_a_rename_that_completes_a_file(start: Start) -> None:
    """A RENAME that gives a bad file its final name fails in the same way, and has been done."""
    async with start(**PATIENT) as gate, gate.raw() as raw:
        assert (await closed(raw, "people.csv.tmp", BAD)).status == Status.OK
        answer = await raw.request(Request.RENAME, string("people.csv.tmp"), string("people.csv"))
        assert answer.status == Status.FAILURE and "The row has 4 fields" in answer.message
        assert found(gate, "people.csv") == [HELD]


@pytest.mark.promise("P3")
async def test_a_whole_file_over_a_good_one(start: Start) -> None:
    """A file that is written over a waiting one, as scp does it without truncating, leaves that to its tool if it is bad."""
    async with start(**PATIENT) as gate, gate.sftp() as client:
        for content, is_good in ((GOOD, True), (BAD, False), (GOOD + b"u2;b\n", True)):
            file = await client.open("people.csv", asyncssh.FXF_WRITE | asyncssh.FXF_CREAT, encoding=None)
            await file.write(content, offset=0)
            await file.setstat(asyncssh.SFTPAttrs(size=len(content)))
            if is_good:
                await file.close()
            else:
                with pytest.raises(asyncssh.SFTPFailure, match="The row has 4 fields"):
                    await file.close()
            assert gate.in_store() == {"people.csv": content if is_good else GOOD}


async def test_whose_close_fails(start: Start, gate_keys: Any) -> None:
    """A user's own word goes before the gate's: the CLOSE of one fails, that of another does not; each in its language."""
    async with start(**PATIENT | {"refuse": "report"}) as gate:
        (gate.directory / "keys/users/erp/user.toml").write_text('refuse = "close"\nlanguage = "fr"\n')
        (gate.directory / "keys/users/other/user.toml").write_text('refuse = "report"\n')
        async with gate.raw("other") as raw:
            assert (await closed(raw, "queue.csv", BAD)).status == Status.OK
        async with gate.raw() as raw:
            answer = await closed(raw, "people.csv", BAD)
            assert answer.status == Status.FAILURE
            assert answer.message.startswith("ligne 2 : La ligne a 4 champs, l'en-tête 2 : u1;a;b;c")
            assert "Le fichier a été reçu, et il est retenu." in answer.message


async def test_a_verdict_that_comes_too_late(start: Start) -> None:
    """A CLOSE does not wait for a verdict longer than the settings say: it is OK then, and the file is held later."""
    content = HEADER + b"".join(b"u%07d;a\n" % number for number in range(300_000)) + b";;;;\n"
    async with start(**PATIENT | {"refuse_wait": 0.001}) as gate, gate.sftp() as client:
        async with client.open("people.csv", "wb") as file:
            await file.write(content)
        [(state, reason)] = found(gate, "people.csv")
        assert state is ArrivalState.HELD and reason in (HoldReason.UNCHECKED, HoldReason.CONTRACT)
        await gate.until("contract.judged")


@pytest.mark.promise("P2")
@pytest.mark.same_process
async def test_a_check_that_cannot_be_made(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file cannot be judged just now, its CLOSE is OK all the same: it has been received, and is judged later."""

    def broken(_: Guard, __: Arrival) -> None:
        raise StorageError("the disk cannot read this just now")

    async with start(**PATIENT) as gate, gate.raw() as raw:
        monkeypatch.setattr(Guard, "judge_now", broken)
        assert (await closed(raw, "people.csv", BAD)).status == Status.OK
        assert [state for state, _ in found(gate, "people.csv")] == [ArrivalState.HELD]


async def test_what_a_library_shows(start: Start) -> None:
    """A library's user reads the sentence in its exception."""
    async with start(**PATIENT) as gate, gate.sftp() as client:
        file = await client.open("people.csv", "wb")
        await file.write(BAD)
        with pytest.raises(asyncssh.SFTPFailure, match="The row has 4 fields"):
            await file.close()
