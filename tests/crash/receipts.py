"""Receipts beside a machine that stops: who writes them, and what must hold of them after a recovery."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import groupby
from operator import attrgetter

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival
from sftpgate.ledger.audit import feed
from sftpgate.ledger.receipts import records
from sftpgate.ledger.receipts.records import Receipt
from sftpgate.policy.lifecycle import FINAL_STATES, ArrivalState
from sftpgate.policy.receipts import ReceiptState
from sftpgate.site import Site
from sftpgate.upkeep.receipts.form import body_of
from sftpgate.upkeep.receipts.references import References
from sftpgate.upkeep.receipts.writer import NAME, ReceiptRules, Receipts
from sftpgate.users.host_keys.signatures import Signer, verify

_KEY = Ed25519PrivateKey.generate()
SIGNER = Signer(_KEY, _KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii"))

_R = ReceiptState
# What the last receipt of an arrival may say, by where the ledger has it. None: there may be no receipt at all.
AGREES: Mapping[ArrivalState, set[ReceiptState | None]] = {
    ArrivalState.IGNORED: {None, _R.WITHDRAWN},
    ArrivalState.HELD: {_R.HELD, _R.RECEIVED},
    ArrivalState.WAITING: {_R.RECEIVED, _R.RELEASED, _R.PROCESSED},
    ArrivalState.QUEUED: {_R.RECEIVED, _R.RELEASED, _R.PROCESSED},
    ArrivalState.CLAIMED: {_R.RECEIVED, _R.RELEASED, _R.PROCESSED},
    ArrivalState.DONE: {_R.PROCESSED},
    ArrivalState.REPLACED: {_R.REPLACED},
    ArrivalState.WITHDRAWN: {_R.WITHDRAWN, _R.REJECTED},
    ArrivalState.DISCARDED: {_R.REJECTED, _R.EXPIRED},
    ArrivalState.REJECTED: {_R.REJECTED},
    ArrivalState.QUARANTINED: {_R.QUARANTINED},
    ArrivalState.TAKEN: {_R.TAKEN},
    ArrivalState.LOST: {_R.LOST},
}


def make_writer(site: Site) -> Receipts:
    """The follower of a site, which follows from now on, if it does not yet."""
    with site.ledger.transaction() as connection:
        feed.join(connection, NAME, at=site.clock())
    rules = ReceiptRules(wants=lambda _: True, signer=lambda: SIGNER)
    return Receipts(site.ledger, site.clock, References(site.layout, site.disk), rules)


def problems(site: Site, rows: list[Arrival]) -> Iterator[str]:
    """Yield what is wrong with the receipts, when all that is due is written. Those of files that ended long ago may be gone."""
    kept_since = site.clock() - timedelta(seconds=site.settings.keep_receipts)
    for item in rows:
        if item.state in FINAL_STATES and item.changed_at < kept_since:
            continue
        with site.ledger.reading() as connection:
            found = records.of_arrival(connection, item.id)
        yield from (f"receipts of {item.id} ({item.path}, {item.state}): {problem}" for problem in _wrong(item, found))


def _wrong(item: Arrival, found: list[Receipt]) -> Iterator[str]:
    if item.owner == LOCAL_OWNER:
        if found:
            yield "nobody sent it, and it has some"
        return
    last = ReceiptState(found[-1].state) if found else None
    begins_later = item.source == "rebuilt"  # of a ledger that was made anew: with the next thing that happens to the file
    if last not in AGREES[item.state] and not (begins_later and last is None):
        yield f"the last one says {last}"
    if [each.number for each in found] != list(range(1, len(found) + 1)):
        yield "they are not numbered from 1 without gaps"
    before = None
    for each in found:
        if body_of(each)["previous"] != (before and hashlib.sha256(before.body.encode()).hexdigest()):
            yield f"{each.number} does not name the one before it"
        if verify(each.body.encode(), each.signature) != SIGNER.line:
            yield f"{each.number} is not signed"
        before = each
    if any(len(list(same)) > 1 for _, same in groupby(found, key=attrgetter("record"))):
        yield "two tell of one event"
