"""Check that disk and ledger agree, and that the promises hold at this moment. Read-only; on a live system or a stopped
one.

Everything is looked at without a lock first; what looks wrong is looked at again under the store's lock, if nobody
can be half-way through a change. What is only unusual (a file in the store that no upload brought) is not a violation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import close

from sftpgate.errors import SftpgateError
from sftpgate.handover.journal import Journal
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import chain
from sftpgate.policy.checks import is_shown_by_disk
from sftpgate.policy.lifecycle import PLACE_OF, Area, ArrivalState
from sftpgate.policy.locations import Location, area_of, location, path_in
from sftpgate.store.digest import sha256_of

_PAGE = 1000
_BY_ID = (Area.HELD, Area.QUEUE, Area.CLAIMS, Area.QUARANTINE, Area.LOCKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that must not be. ``rule`` names what is broken, ``arrival`` or ``location`` where."""

    rule: str
    arrival: str = ""
    location: str = ""
    explanation: str = ""


def verify(
    resources: Resources,
    journal: Journal,
    *,
    content: bool = False,
    noted: tuple[int, str] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> list[Violation]:
    """Return every violation found; ``content``: also read every waiting file and compare its SHA-256; ``noted``: a head of
    the audit record that was kept elsewhere (``ledger.chain``).
    """
    problem = resources.ledger.check()
    if problem is not None:
        return [Violation(rule="the ledger is readable", explanation=problem)]
    return _broken_chain(resources, noted, progress) + _disagreements(resources, journal, content, progress)


def _broken_chain(
    resources: Resources, noted: tuple[int, str] | None, progress: Callable[[str, int], None] | None
) -> list[Violation]:
    with resources.ledger.reading() as connection:
        broken = chain.verify(connection, noted=noted, progress=progress)
    if broken is None:
        return []
    return [Violation(rule="the audit record is a whole chain", location=f"record {broken.seq}", explanation=broken.problem)]


def _disagreements(
    resources: Resources, journal: Journal, content: bool, progress: Callable[[str, int], None] | None
) -> list[Violation]:
    suspects = [item for item in _rows(resources, progress) if _row_problem(resources, journal, item, content)]
    strays = list(_strays(resources))
    if not suspects and not strays:
        return _doubles(resources)
    with journal.locks.names():
        found = list(_confirmed(resources, journal, suspects, content))
        found += [
            Violation(rule="every file in a managed place is an arrival's", location=where)
            for where in _still_stray(resources, strays)
        ]
        return found + _doubles(resources)


def _rows(resources: Resources, progress: Callable[[str, int], None] | None) -> Iterator[Arrival]:
    last, count = 0, 0
    while True:
        with resources.ledger.reading() as connection:
            page = arrivals.find(connection, after_seq=last, limit=_PAGE)
        if not page:
            return
        yield from page
        last, count = page[-1].seq, count + len(page)
        if progress is not None:
            progress("checked", count)


def _confirmed(resources: Resources, journal: Journal, suspects: list[Arrival], content: bool) -> Iterator[Violation]:
    with resources.ledger.reading() as connection:
        again = [row for item in suspects for row in arrivals.find(connection, ids=[item.id])]
    for item in again:
        if problem := _row_problem(resources, journal, item, content):
            yield Violation(rule=problem[0], arrival=item.id, location=item.location or "", explanation=problem[1])


def _row_problem(resources: Resources, journal: Journal, item: Arrival, content: bool) -> tuple[str, str] | None:
    """Return the rule that a row breaks, and how; None if it breaks none."""
    if item.location is None:
        return None
    area = area_of(item.location)
    expected = PLACE_OF[item.state]
    in_drop = is_shown_by_disk(item.hold_reason) and area is Area.DROP
    is_lock = item.state is ArrivalState.IGNORED and area is Area.LOCKS
    if area is not expected and not in_drop and not is_lock:
        return "an arrival lies where its state says", f"it is {item.state}"
    if item.pending_from is not None and journal.is_at(item, item.pending_from):
        if item.location and (obstacle := journal.contents.obstacle(item.location)):
            return "a recorded move can be made", f"{item.path} cannot come to its place: {obstacle}"
        return None  # its move is recorded, and whoever comes next completes it
    if not journal.is_at(item, item.location):
        return "the file of an arrival is where the ledger says", f"it is {item.state}, and its file is not there"
    status = resources.disk.lstat(resources.layout.disk_path(item.location))
    if status is None or (item.state is ArrivalState.WAITING and item.sha256 and status.st_size != item.size):
        return "a waiting file is the one that was received", "its size has changed"
    if content and item.state is ArrivalState.WAITING and _sha256_at(resources, item.location) != item.sha256:
        return "a waiting file is the one that was received", "its content has changed"
    return None


def _sha256_at(resources: Resources, where: Location) -> str:
    try:
        fd = resources.disk.open_read(resources.layout.disk_path(where))
    except SftpgateError:
        return ""
    try:
        return sha256_of(fd)
    finally:
        close(fd)


def _strays(resources: Resources) -> Iterator[Location]:
    """Yield files in the places named by id that no live arrival has."""
    for area in _BY_ID:
        ids = [name for name in resources.disk.names(resources.layout.disk_path(location(area, ""))) if "." not in name]
        yield from _unknown(resources, [location(area, name) for name in ids])


def _unknown(resources: Resources, places: list[Location]) -> list[Location]:
    found: list[Location] = []
    for start in range(0, len(places), _PAGE):
        page = places[start : start + _PAGE]
        with resources.ledger.reading() as connection:
            known = {
                where
                for row in arrivals.find(connection, live=True, ids=[path_in(where) for where in page])
                for where in (row.location, row.pending_from)
            }
        found += [where for where in page if where not in known]
    return found


def _still_stray(resources: Resources, places: list[Location]) -> list[Location]:
    return [where for where in _unknown(resources, places) if resources.disk.exists(resources.layout.disk_path(where))]


def _doubles(resources: Resources) -> list[Violation]:
    with resources.ledger.reading() as connection:
        return [
            Violation(rule="one place holds one arrival", location=where, explanation=f"{count} live arrivals")
            for where, count in arrivals.doubly_located(connection)
        ]
