"""The managed directories: what the gate keeps at the top of the store, and shows to senders beside the drop.

Pure. From an entry of ``MANAGED`` follows all that is the same for each of them:

- it lies at the top of the store under its name, with the modes of the settings (``store/layout.py``);
- a file in it is never replaced: the next one gets another name (``handover/arrival_files.py``);
- its name is reserved, in any letter case: nothing of a sender at the top of the drop has it, no home lies in it, and no tool is
  pointed into it (``access``, ``accounts``, ``tools``);
- a sender sees it at the top of its tree, read-only, with the files that are its own (``gateway/sftp/view.py``); people of the
  machine see all of it, and do not write either (``depot``);
- what is in it goes when it is older, or more, than ``keep_<name>`` and ``keep_<name>_bytes`` say (``upkeep/retention.py``).

Three things cannot be said in a table, and tests miss them for an entry that lacks one: whose each file is
(``ledger/listings.py``), what finds and removes those that are due (``Retention``), and the two settings.
"""

from __future__ import annotations

from dataclasses import dataclass

from sftpgate.policy.lifecycle import Area
from sftpgate.policy.names import folded
from sftpgate.policy.retention import KeptKind


@dataclass(frozen=True, slots=True)
class ManagedDirectory:
    """One of them: the area of its files, whose value is its name, and what they are for retention."""

    area: Area
    kept_as: KeptKind

    @property
    def name(self) -> str:
        """Return its name, at the top of the store and of what a sender sees."""
        return self.area.value


MANAGED = (
    ManagedDirectory(Area.ARCHIVES, KeptKind.ARCHIVES),  # command files after their processing, and earlier ones of a name
    ManagedDirectory(Area.REPORTS, KeptKind.REPORTS),  # what was said about files, and their rejected rows
)

MANAGED_AREAS = frozenset(directory.area for directory in MANAGED)
RESERVED_NAMES = tuple(directory.name for directory in MANAGED)
_BY_NAME = {directory.name: directory for directory in MANAGED}


def directory_called(name: str) -> ManagedDirectory | None:
    """Return the managed directory of just this name, or None."""
    return _BY_NAME.get(name)


def is_reserved(name: str) -> bool:
    """Return whether a name at the top of drop or store is a managed directory's, in any letter case and Unicode form."""
    return folded(name) in _BY_NAME


def in_words(*more: str) -> str:
    """Return the names, and ``more`` behind them, as a sentence lists them."""
    *names, last = (*RESERVED_NAMES, *more)
    return f"{', '.join(names)} and {last}"
