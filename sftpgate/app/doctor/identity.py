"""The checks of ``sftpgate doctor`` and the notes of ``sftpgate status`` on store, drop and ledger: whether they belong together,
and what a ledger that is gone takes with it. Looks only.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from sftpgate.app.doctor.findings import Findings
from sftpgate.app.doctor.findings import error as _error
from sftpgate.app.doctor.findings import warning as _warning
from sftpgate.errors import SftpgateError
from sftpgate.handover.identity.gate_memory import memory_file, remembered
from sftpgate.handover.identity.ties import compare_age, described, look
from sftpgate.hidden_names import MANAGED_NAME
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.identity import WHAT_TO_DO, Age, mismatch
from sftpgate.policy.lifecycle import Area
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout

COUNTED = 1000  # files in a store without a ledger: enough to say that it was in use
LOST_LEDGER = (
    "bring it back from a backup before the next start: that makes a new one from the disk, and what lies in the store has no "
    "sender then, who no longer sees these files and their reports"
)


def check_identity(settings: Settings) -> Findings:
    """Yield whether store, drop and ledger belong together: if they do not, the gate does not start."""
    layout, disk, ledger = Layout(settings.store, settings.drop), Disk(), Ledger(settings.ledger)
    try:
        known = remembered(settings.keys_dir)
        seen = look(layout, disk, ledger, known)
        found = mismatch(seen)
        if found is not None:
            yield _error("identity", described(found, layout), WHAT_TO_DO)
        elif seen.is_whole and (aged := compare_age(layout, disk, ledger)) is not Age.SAME:
            yield _warning("identity", aged, "the next start records what is missing, and what is not known: docs/internals.md")
        if found is None and known is not None and seen.identity not in (None, known):
            yield _warning(
                "identity",
                f"store, drop and ledger are another gate's than the keys were used with: {memory_file(settings.keys_dir)}",
                "mount the right filesystem, or, where it is meant so, remove that file: the next start writes it anew",
            )
    finally:
        ledger.close()


def identity_note(settings: Settings, ledger: Ledger | None) -> str | None:
    """Return one line if store, drop and ledger do not belong together; None if they do, or if it cannot be told. ``ledger``:
    None if there is none.
    """
    layout = Layout(settings.store, settings.drop)
    looked_at = ledger or Ledger(settings.ledger)
    try:
        found = mismatch(look(layout, Disk(), looked_at, remembered(settings.keys_dir)))
    except (SftpgateError, OSError):
        return None  # the directories are the server's own, and we are somebody else
    finally:
        if ledger is None:
            looked_at.close()
    return None if found is None else f"{described(found, layout)}: nothing is taken or changed; {WHAT_TO_DO}"


def lost_ledger_note(settings: Settings) -> str | None:
    """Return one line if there is no ledger, and files are there that one knew; None otherwise."""
    count = files_without_ledger(settings)
    if not count:
        return None
    number = f"{count} or more" if count == COUNTED else str(count)
    return f"there is no ledger, and {number} files lie in the store: {LOST_LEDGER}"


def files_without_ledger(settings: Settings) -> int:
    """Return how many files lie in the store, in the places by id too; counts on up to COUNTED."""
    managed = settings.store / MANAGED_NAME
    by_id = chain.from_iterable(
        _files(managed / area) for area in (Area.HELD, Area.QUEUE, Area.CLAIMS, Area.QUARANTINE, Area.LOCKS)
    )
    own = (path for path in by_id if "." not in path.name)
    return sum(1 for _ in islice(chain(_files(settings.store), own), COUNTED))


def _files(directory: Path) -> Iterator[Path]:
    """Yield the files below a directory; our own directory is not entered."""
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return
    for path in entries:
        if path.is_symlink() or path.name.startswith(MANAGED_NAME):
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path
