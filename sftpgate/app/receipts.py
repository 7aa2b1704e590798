"""Receipts, for the people of this machine: which there are, and whether one that somebody shows is ours and still true."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sftpgate.errors import UnknownArrival
from sftpgate.ledger import overview
from sftpgate.ledger.audit import chain
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.ledger.receipts import records
from sftpgate.ledger.receipts.records import Receipt
from sftpgate.settings.tree import Settings
from sftpgate.upkeep.receipts.form import FORMAT, VERSION, body_of
from sftpgate.users.host_keys import signatures
from sftpgate.users.keys.authorized import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFinding:
    """One thing that was looked at. ``is_good`` is None if it cannot be told any more, and ``explanation`` says why."""

    rule: str
    is_good: bool | None
    explanation: str


def as_sent(receipt: Receipt) -> dict[str, object]:
    """Return a receipt as the sender's file has it."""
    return body_of(receipt)


def of_arrival(ledger: Ledger | None, identifier: str) -> Sequence[Receipt]:
    """Return the receipts of the arrival whose id begins with ``identifier``, in order.

    Raises UnknownArrival unless there is just one.
    """
    if ledger is None:
        raise UnknownArrival(f"there is no arrival {identifier}: nothing has arrived yet")
    with ledger.reading() as connection:
        return records.of_arrival(connection, overview.by_prefix(connection, identifier).id)


def allowed_signers(settings: Settings) -> Sequence[str]:
    """Return the lines of an allowed signers file for all keys by which receipts are believed; none before the first start."""
    return signatures.allowed_signers(settings.keys_dir)


def verify(settings: Settings, ledger: Ledger | None, body: bytes, signature: str) -> Sequence[ReceiptFinding]:
    """Return what can be told of a receipt that somebody shows: its signature, whether the ledger has the same, and whether the
    audit record that it speaks of is still where it was in an unbroken chain. Changes nothing.
    """
    found = [_signed(settings, body, signature)]
    said = _parsed(body)
    if said is None:
        return [*found, ReceiptFinding(rule="it is a receipt", is_good=False, explanation="it is not of the form of a receipt")]
    if ledger is None:
        return [*found, ReceiptFinding(rule="it is in the ledger", is_good=False, explanation="there is no ledger yet")]
    with ledger.reading() as connection:
        return [*found, _kept(connection, body, said), _on_record(connection, said)]


@dataclass(frozen=True, slots=True)
class _Said:
    """What of a receipt is compared."""

    arrival: str
    number: int
    record: int
    hash: str


def _parsed(body: bytes) -> _Said | None:
    try:
        said = json.loads(body)
        if (said["format"], said["version"]) != (FORMAT, VERSION):
            return None
        return _Said(str(said["arrival"]), int(said["number"]), int(said["record"]["number"]), str(said["record"]["hash"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _signed(settings: Settings, body: bytes, signature: str) -> ReceiptFinding:
    rule = "it is signed by a key of this gate"
    try:
        line = signatures.verify(body, signature)
    except ValueError as error:
        return ReceiptFinding(rule=rule, is_good=False, explanation=str(error))
    name = fingerprint(base64.b64decode(line.split()[1]))
    if line not in signatures.signer_lines(settings.keys_dir):
        return ReceiptFinding(rule=rule, is_good=False, explanation=f"the key {name} has never signed receipts of this gate")
    return ReceiptFinding(rule=rule, is_good=True, explanation=f"by {name}")


def _kept(connection: Connection, body: bytes, said: _Said) -> ReceiptFinding:
    rule = "it is the one in the ledger"
    kept = records.numbered(connection, said.arrival, said.number)
    if kept is None:
        return ReceiptFinding(
            rule=rule, is_good=None, explanation="the ledger does not have it any more (keep_receipts), or never had it"
        )
    if kept.body.encode() != body:
        return ReceiptFinding(rule=rule, is_good=False, explanation=f"the ledger has another one as {kept.file}")
    return ReceiptFinding(rule=rule, is_good=True, explanation=f"as {kept.file}")


def _on_record(connection: Connection, said: _Said) -> ReceiptFinding:
    rule = "the audit record that it tells of is in the chain"
    ends = chain.ends(connection)
    if said.record <= ends.anchor_seq:
        why = f"records up to {ends.anchor_seq} were removed because of their age (keep_events), {said.record} too"
        return ReceiptFinding(rule=rule, is_good=None, explanation=why)
    broken = chain.verify(connection, noted=(said.record, said.hash))
    if broken is not None:
        return ReceiptFinding(rule=rule, is_good=False, explanation=f"record {broken.seq}: {broken.problem}")
    proof = (
        f"record {said.record} has the hash {said.hash}, and the chain is whole from there to {ends.head_seq}:{ends.head_hash}"
    )
    return ReceiptFinding(rule=rule, is_good=True, explanation=proof)
