"""Receipts of a gate without its server: a writer, and what senders read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftpgate.drop.receipt_files import ReceiptFiles
from sftpgate.ledger.database.connection import Ledger
from sftpgate.site import Site
from sftpgate.upkeep.receipts.references import References
from sftpgate.upkeep.receipts.writer import ReceiptRules, Receipts
from sftpgate.users.host_keys.signatures import Signers
from tests.harness.host_keys import give_host_keys


def make_receipts(site: Site, *, wants: Callable[[str], bool] = lambda _: True, ledger: Ledger | None = None) -> Receipts:
    """The follower of a site, which has joined; its host keys are made."""
    give_host_keys(site.settings.keys_dir)
    rules = ReceiptRules(wants=wants, signer=Signers(site.settings.keys_dir).current)
    made = Receipts(ledger or site.ledger, site.clock, References(site.layout, site.disk), rules)
    made.step()
    return made


def write_all(receipts: Receipts) -> None:
    """Write all that is due."""
    while receipts.step():
        pass


@dataclass(frozen=True)
class Reader:
    """What a sender reads below ``/receipts``."""

    files: ReceiptFiles
    user: str = "erp"

    def names(self, directory: str = "") -> list[str]:
        """The names in a directory, sorted."""
        return sorted(item.name for item in self.files.listing(self.user, directory))

    def read(self, path: str) -> bytes:
        """The content of a file."""
        found = self.files.content(self.user, path)
        assert found is not None, path
        return found[0]

    def receipt(self, path: str) -> dict[str, Any]:
        """What a receipt says."""
        said: dict[str, Any] = json.loads(self.read(path))
        return said

    def numbered(self, directory: str = "") -> list[dict[str, Any]]:
        """The receipts under their own names, by arrival and number."""
        top = f"{directory}/" if directory else ""
        said = [self.receipt(top + name) for name in self.names(directory) if name.endswith(".json")]
        unique = {(each["arrival"], each["number"]): each for each in said}
        return [unique[key] for key in sorted(unique)]

    def states(self, directory: str = "") -> list[tuple[str, str, bool, str]]:
        """State, code, final, action of each of them."""
        return [(each["state"], each["code"], each["final"], each["action"]) for each in self.numbered(directory)]

    def download(self, directory: Path) -> None:
        """Put all files of the top into a directory."""
        for name in self.names():
            found = self.files.content(self.user, name)
            if found is not None:
                (directory / name).write_bytes(found[0])


def reader(site: Site, user: str = "erp") -> Reader:
    """What a user of a site reads."""
    return Reader(ReceiptFiles(site.ledger), user)
