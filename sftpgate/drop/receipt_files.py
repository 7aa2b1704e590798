"""What a sender sees below ``/receipts``: files that are made of the ledger's rows at the moment when somebody looks.

    <directory>/NAME.json                            the newest receipt about a file of this name
    <directory>/NAME.<arrival>.<number>-<state>.json  each receipt, for ever the same
    … .json.sig                                       its signature

Directories are those of the files below the drop. Everything is the sender's own, read-only, and never half written; a receipt
and its signature appear at the same moment. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.ledger.receipts import places, records
from sftpgate.ledger.receipts.records import Receipt

SUFFIX, SIGNATURE_SUFFIX = ".json", ".json.sig"
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFile:
    """A name in a listing. ``size`` and ``at`` are None for a directory."""

    name: str
    size: int | None = None
    at: datetime | None = None

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.size is None


class ReceiptFiles:
    """The receipts of all users, as files. One instance per process."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def lookup(self, user: str, path: str) -> ReceiptFile | None:
        """Return what a user has at a path below ``/receipts``, or None."""
        name = path.rpartition("/")[2]
        with self._ledger.reading() as connection:
            found = _found(connection, user, path)
            if found is not None:
                return ReceiptFile(name=name, size=len(found[1]), at=found[0].at)
            return ReceiptFile(name=name) if places.is_directory(connection, user, path) else None

    def content(self, user: str, path: str) -> tuple[bytes, datetime] | None:
        """Return the content and the time of a user's file, or None if there is none at ``path``."""
        with self._ledger.reading() as connection:
            found = _found(connection, user, path)
        return None if found is None else (found[1], found[0].at)

    def listing(self, user: str, directory: str) -> Iterator[ReceiptFile]:
        """Yield what a user has in a directory, read as it is consumed: a page of receipts at a time."""
        with self._ledger.reading() as connection:
            below = places.directories_below(connection, user, directory)
        for name in below:
            yield ReceiptFile(name=name)
        last = ""
        while True:
            with self._ledger.reading() as connection:
                names = places.names_in(connection, user, directory, after=last, limit=PAGE)
            for name in names:
                yield from self._about(user, directory, name)
            if len(names) < PAGE:
                return
            last = names[-1]

    def _about(self, user: str, directory: str, name: str) -> Iterator[ReceiptFile]:
        """Yield the receipts about files of one name, and the newest once more under its short name."""
        after, newest = 0, None
        while True:
            with self._ledger.reading() as connection:
                page = places.entries_in(connection, user, directory, name, after=after, limit=PAGE)
            for entry in page:
                yield ReceiptFile(name=entry.file, size=entry.body_bytes, at=entry.at)
                yield ReceiptFile(name=f"{entry.file}.sig", size=entry.signature_bytes, at=entry.at)
                after, newest = entry.seq, entry
            if len(page) < PAGE:
                break
        if newest is not None:
            yield ReceiptFile(name=name + SUFFIX, size=newest.body_bytes, at=newest.at)
            yield ReceiptFile(name=name + SIGNATURE_SUFFIX, size=newest.signature_bytes, at=newest.at)


def _found(connection: Connection, user: str, path: str) -> tuple[Receipt, bytes] | None:
    """Return the receipt at a path, and what the file has: the receipt itself, or its signature."""
    directory, _, name = path.rpartition("/")
    is_signature = name.endswith(SIGNATURE_SUFFIX)
    stem = name.removesuffix(SIGNATURE_SUFFIX if is_signature else SUFFIX)
    if stem == name:
        return None
    numbered = _numbered(connection, user, directory, stem + SUFFIX)
    receipt = numbered or places.newest_at(connection, user, directory, stem)
    if receipt is None:
        return None
    return receipt, (receipt.signature if is_signature else receipt.body).encode()


def _numbered(connection: Connection, user: str, directory: str, file: str) -> Receipt | None:
    key = records.key_of(file)
    found = None if key is None else records.numbered(connection, *key)
    if found is None or (found.owner, found.directory, found.file) != (user, directory, file):
        return None
    return found
