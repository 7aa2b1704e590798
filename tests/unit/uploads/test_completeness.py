"""What is thought of a closed upload, by its client, its content and what came before."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from sftpgate.errors import LedgerError, SftpgateError
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.policy import formats, texts
from sftpgate.policy.clients import LONGEST_OFFERED_WRITE
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import ArrivalEvent, ArrivalState, HoldReason
from sftpgate.uploads.terms import SessionTrace
from tests.harness.handover import Gate

OPENSSH = "SSH-2.0-OpenSSH_9.2p1"
PARAMIKO = "SSH-2.0-paramiko_5.1.0"
LINES = b"".join(b"user%06d,math,student\n" % number for number in range(40_000))


def send(
    gate: Gate,
    path: str,
    content: bytes,
    *,
    client: str = PARAMIKO,
    write: int = 32768,
    asked_limits: bool = False,
    user: str = "erp",
    state_size: bool = False,
) -> Arrival:
    """An upload in writes of a length, and its CLOSE."""
    sender = replace(gate.sender(user), client=client)
    upload = gate.system.staging.create(sender, path, SessionTrace(asked_limits=asked_limits))
    for start, end in pairwise([*range(0, len(content), write), len(content)]):
        upload.write(gate.system.disk, start, content[start:end])
    if state_size:
        upload.truncate(gate.system.disk, len(content))
    [outcome] = gate.publisher.commit([upload])
    if isinstance(outcome, SftpgateError):
        raise outcome
    return gate.now(outcome)


def why(gate: Gate, item: Arrival) -> object:
    """The reason on the record."""
    with gate.system.ledger.reading() as connection:
        events = event_log.history(connection, item.id)
    return next(event.details["why"] for event in events if event.event == "arrival.received")


PART = LINES[: 8 * 32768]
ASKED = LINES[: 3 * LONGEST_OFFERED_WRITE]


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    "content",
    [
        PART,
        b"".join(b"%063d\n" % number for number in range(4096)),  # fixed-width records, ending in newlines
        ("\ufeff" + LINES.decode()).encode("utf-16-le")[: 4 * 32768],
        gzip.compress(os.urandom(400_000))[: 4 * 32768],
        os.urandom(32768),
    ],
    ids=["lines", "records", "utf-16", "gzip", "binary"],
)
def test_an_interrupted_upload_and_the_same_again(gate: Gate, content: bytes) -> None:
    """What an exception in paramiko's put leaves is held; the same content a second time is a whole file."""
    first = send(gate, "a.csv", content)
    assert (first.state, first.hold_reason, first.grade) == (ArrivalState.HELD, HoldReason.INCOMPLETE, Grade.SUSPECT)
    assert gate.read("a.csv") is None
    assert send(gate, "b.csv", content).state is ArrivalState.HELD, "another path"
    assert send(gate, "a.csv", content + content).state is ArrivalState.HELD, "another content"
    second = send(gate, "a.csv", content)
    assert (second.state, second.grade) == (ArrivalState.WAITING, Grade.PROVEN)
    assert why(gate, second) == "the same content was sent before"
    assert gate.read("a.csv") == content


@pytest.mark.promise("P1")
@pytest.mark.parametrize("client", [PARAMIKO, "SSH-2.0-libssh2_1.10.0", "SSH-2.0-unknown"])
def test_a_text_of_a_round_size(gate: Gate, client: str) -> None:
    """A whole CSV of exactly 1 MiB is published at once, unless its records end where full writes do; a part of it is not."""
    lines = b"".join(b"user%06d,%s\n" % (number, b"x" * (number % 50)) for number in range(60_000))
    whole = lines[: 1024 * 1024 - 2] + b"x\n"
    assert send(gate, "a.csv", whole, client=client).state is ArrivalState.WAITING
    assert send(gate, "b.csv", lines[: 1024 * 1024 - 1] + b"x", client=client).state is ArrivalState.HELD
    assert send(gate, "c.csv", (b"%063d\n" % 1) * 16384, client=client).state is ArrivalState.HELD
    assert send(gate, "d.csv", whole[: 9 * 32768], client=client).state is ArrivalState.HELD


def of_size(size: int, day: int) -> bytes:
    """A CSV of lines of different lengths, of just this size."""
    lines = b"day %02d\n" % day + b"".join(b"user%06d,%s\n" % (number, b"x" * (number % 50)) for number in range(9_000))
    return lines[: size - 3] + b"xy\n"


@pytest.mark.promise("P1")
def test_files_that_always_have_one_size(gate: Gate) -> None:
    """If a path's files have the same size day by day, one of full writes is published at once, and a part of it is not."""
    for day in range(3):
        send(gate, "a.csv", of_size(98_304, day))
        assert send(gate, "a.csv", of_size(98_304, day)).state is ArrivalState.WAITING, "sent again"
    fourth = send(gate, "a.csv", of_size(98_304, 3))
    assert fourth.state is ArrivalState.WAITING
    assert why(gate, fourth) == "it has the size that the earlier files of its path have"
    assert send(gate, "a.csv", of_size(98_304, 4)[:65_536]).state is ArrivalState.HELD
    assert send(gate, "a.csv", of_size(131_072, 4)).state is ArrivalState.HELD
    assert send(gate, "a.csv", of_size(98_304, 5)).state is ArrivalState.WAITING, "what was held makes no habit"
    assert send(gate, "b.csv", of_size(98_304, 5)).state is ArrivalState.HELD, "another path"


@pytest.mark.promise("P1")
def test_files_that_have_nearly_one_size(gate: Gate) -> None:
    """If a text of full writes is as long as its path's files are, and ends a line by choice, it is published at once."""
    for day, size in enumerate((326_900, 327_400, 328_100)):
        assert send(gate, "a.csv", of_size(size, day)).state is ArrivalState.WAITING
    assert send(gate, "a.csv", of_size(327_680, 3)[:-1] + b"x").state is ArrivalState.HELD, "it ends inside a line"
    assert send(gate, "a.csv", of_size(327_680, 4)).state is ArrivalState.WAITING
    assert send(gate, "a.csv", of_size(294_912, 5)).state is ArrivalState.HELD, "shorter by a tenth"


@pytest.mark.promise("P1")
@pytest.mark.parametrize("write", [1500, 5000, 20_000, 32_755])
def test_writes_of_a_length_that_nobody_knows(gate: Gate, write: int) -> None:
    """What consists of equal writes is a part, whatever is in it, but for the lines of an application."""
    unknown = {"client": "SSH-2.0-Renci.SshNet.SshClient.0.0.1", "write": write}
    assert send(gate, "a.bin", os.urandom(8 * write), **unknown).state is ArrivalState.HELD  # type: ignore[arg-type]
    text = of_size(8 * write, 0)
    assert send(gate, "b.csv", text, **unknown).state is ArrivalState.HELD  # type: ignore[arg-type]
    assert send(gate, "b.csv", text + b"end\n", **unknown).state is ArrivalState.WAITING  # type: ignore[arg-type]
    lines = b"".join(b"%0*d\n" % (write - 1, number) for number in range(8))
    assert send(gate, "c.csv", lines, **unknown).state is ArrivalState.WAITING  # type: ignore[arg-type]


@pytest.mark.promise("P1")
def test_another_users_file_is_no_witness(gate: Gate) -> None:
    """The same content counts as sent twice for the user alone who sent it."""
    send(gate, "a.csv", PART, user="other")
    with gate.system.journal.change() as change:
        for item in change.live_at("a.csv"):
            change.event(item, ArrivalEvent.DISCARDED, actor=SYSTEM, location=None)
    assert send(gate, "a.csv", PART).state is ArrivalState.HELD


@pytest.mark.promise("P1")
@pytest.mark.parametrize("size", [1000, 4096, 16_000, 20_000, 32_768, 65_536, 200_000, 261_120, 300_000])
def test_a_whole_file_by_openssh(gate: Gate, size: int) -> None:
    """OpenSSH's sftp sends a whole CSV without a newline at its end: it is published at once, of any size."""
    item = send(gate, "a.csv", LINES[: size - 1] + b"x", client=OPENSSH, write=LONGEST_OFFERED_WRITE, asked_limits=True)
    assert (item.state, item.grade) == (ArrivalState.WAITING, Grade.PLAUSIBLE)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("content", [ASKED, b"".join(b"%098d\r\n" % number for number in range(99_999))[: len(ASKED)]])
def test_a_part_by_openssh(gate: Gate, content: bytes) -> None:
    """What Ctrl-C leaves in OpenSSH's sftp is full writes only, and is held."""
    item = send(gate, "a.csv", content, client=OPENSSH, write=LONGEST_OFFERED_WRITE, asked_limits=True)
    assert (item.hold_reason, why(gate, item)) == (
        HoldReason.INCOMPLETE,
        "it ends with a full write: its client may have been interrupted there",
    )


@pytest.mark.promise("P1")
def test_a_size_that_is_stated_at_the_end(gate: Gate) -> None:
    """lftp sets the size when it is done, which proves a whole file of full writes only; sftp's word proves nothing."""
    assert send(gate, "a.csv", PART, client=OPENSSH).state is ArrivalState.HELD
    assert send(gate, "b.csv", PART, client=OPENSSH, state_size=True).grade is Grade.PROVEN
    assert send(gate, "c.csv", PART, client=OPENSSH, write=32768, asked_limits=True, state_size=True).grade is Grade.SUSPECT


@pytest.mark.promise("P1")
def test_how_earlier_files_ended(gate: Gate) -> None:
    """Of a sender whose files of a path never end with a newline, one without is no surprise; of others it is."""
    unknown = {"client": "SSH-2.0-unknown", "write": 99_999}
    days: Sequence[bytes] = [b"a,b\n" * 5000 + b"day %d" % day for day in range(3)]
    assert send(gate, "a.csv", days[0], **unknown).state is ArrivalState.HELD  # type: ignore[arg-type]
    assert send(gate, "a.csv", days[1], **unknown).state is ArrivalState.WAITING  # type: ignore[arg-type]
    assert send(gate, "b.csv", days[0] + b"\n", **unknown).state is ArrivalState.WAITING  # type: ignore[arg-type]
    assert send(gate, "b.csv", days[1], **unknown).state is ArrivalState.HELD  # type: ignore[arg-type]


@pytest.mark.promise("P1")
def test_a_resumed_part_is_not_the_same_content_again(gate: Gate) -> None:
    """A part that is resumed, and closed again without its end, does not prove itself."""
    send(gate, "a.csv", PART)
    sender = replace(gate.sender(), client=PARAMIKO)
    upload = gate.system.staging.create(sender, "a.csv", SessionTrace())
    upload.write(gate.system.disk, 0, PART[:32768])
    gate.system.staging.interrupt(upload)
    [partial] = gate.system.staging.partials("erp")
    resumed = gate.system.staging.resume(partial, sender, SessionTrace())
    resumed.write(gate.system.disk, 32768, PART[32768:65536])
    [outcome] = gate.publisher.commit([resumed])
    assert isinstance(outcome, Arrival) and outcome.hold_reason is HoldReason.INCOMPLETE


@pytest.mark.promise("P1")
def test_a_resumed_upload_to_which_nothing_comes(gate: Gate) -> None:
    """A part that is opened again and closed without a write is not whole by that."""
    upload = gate.upload("a.csv", b"a,1\n")
    gate.system.staging.interrupt(upload)
    [partial] = gate.system.staging.partials("erp")
    [outcome] = gate.publisher.commit([gate.system.staging.resume(partial, gate.sender(), SessionTrace())])
    assert not isinstance(outcome, Arrival) or outcome.hold_reason is HoldReason.INCOMPLETE


@pytest.mark.promise("P1", "P2")
def test_a_failing_look_does_not_fail_the_close(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that breaks a parser, and a ledger that does not answer, decide nothing: the CLOSE goes on."""

    def broken(*_: object) -> None:
        raise RecursionError("too deep")

    def silent(*_: object, **__: object) -> None:
        raise LedgerError("gone")

    monkeypatch.setattr(formats, "examine", broken)
    monkeypatch.setattr(texts, "ending", broken)
    monkeypatch.setattr(arrivals, "sent_before", silent)
    assert send(gate, "a.json", json.dumps([1]).encode()).state is ArrivalState.WAITING
    assert send(gate, "b.json", PART).state is ArrivalState.HELD
