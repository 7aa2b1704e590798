"""What must hold after recovery, whatever happened before it: promises P1 to P4, and the agreement of disk and ledger."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import LIVE_STATES, Area, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.upkeep.verify import verify
from tests.crash import receipts
from tests.crash.world import World

_COPY = ".sftpgate-"  # the beginning of the names of copies under way between two filesystems
_RUNNABLE = tuple(location(area, "") for area in (Area.STORE, Area.QUEUE, Area.CLAIMS))
_BY_ID = (Area.HELD, Area.QUEUE, Area.CLAIMS, Area.QUARANTINE, Area.LOCKS)


def problems(world: World) -> list[str]:
    """Everything that is wrong now; empty where all promises hold."""
    files = dict(_files(world.data))
    rows = world.rows()
    return [
        *_promises(world, files),
        *_appends(world, files),
        *_paths(world, files, rows),
        *_agreement(world, files, rows),
        *_contracts(files, world.journal.unapproved, "nobody approved it"),
        *_partials(world),
        *_copies(world),
        *(
            f"verify: {found.rule}: {found.location} {found.explanation}"
            for found in verify(world.system.resources, world.system.journal, content=True)
        ),
    ]


def problems_after_a_sweep(world: World) -> list[str]:
    """The same, what a sweep has to have ended, and what senders were told by then."""
    world.tell()
    return [
        *problems(world),
        *_contracts(dict(_files(world.data)), world.journal.expired, "its approval has ended"),
        *receipts.problems(world.system, world.rows()),
    ]


def visible_problems(world: World) -> list[str]:
    """What is wrong for those who look at the files while a change may be half-way: something is not whole, or gone."""
    files = dict(_files(world.data))
    found = set(files.values())
    gone = [content for content, allowed in world.journal.counts.items() if 0 not in allowed and content not in found]
    return [
        *(
            f"P1: {where} is not whole: {_short(content)}"
            for where, content in files.items()
            if content not in world.journal.counts
        ),
        *(f"P2, P3: {_short(content)} is gone" for content in gone),
    ]


def snapshot(world: World) -> set[tuple[str, str]]:
    """All files with their contents, all directories, and all rows of the ledger. What a lock says is who had it last."""
    lock = world.data / "store/.sftpgate/lock"
    found: set[tuple[str, str]] = set()
    for root in ("store", "sync"):
        for directory, _, names in os.walk(world.data / root):
            found.add((directory, "directory"))
            for name in names:
                path = Path(directory) / name
                found.add((str(path), hashlib.sha256(b"" if path == lock else path.read_bytes()).hexdigest()))
    return found | {(row.id, repr(row)) for row in world.rows()}


def _files(data: Path) -> Iterator[tuple[str, bytes]]:
    """Complete files by location: everything but staging, notes, locks and copies under way."""
    managed = data / "store/.sftpgate"
    for area in _BY_ID:
        for path in (managed / area).iterdir():
            if "." not in path.name:  # notes and locks have one
                yield location(area, path.name), path.read_bytes()
    for path in data.glob("store/archives/*"):
        if not path.name.startswith(_COPY):
            yield location(Area.ARCHIVES, path.name), path.read_bytes()
    for area, root in ((Area.STORE, "store"), (Area.DROP, "sync")):
        for path in (data / root).rglob("*"):
            inner = str(path.relative_to(data / root))
            if (
                path.is_file()
                and not inner.startswith((".sftpgate/", "archives/", "reports/"))
                and not path.name.startswith(_COPY)
            ):
                yield location(area, inner), path.read_bytes()


def _promises(world: World, files: dict[str, bytes]) -> Iterator[str]:
    counts = world.journal.counts
    found = Counter(files.values())
    for where, content in files.items():
        if content not in counts:
            yield f"P1: {where} is not whole: {_short(content)}"
    for content, allowed in counts.items():
        if found[content] not in allowed:
            places = [where for where, other in files.items() if other == content]
            yield f"P2, P3: {_short(content)} is {found[content]} times there, allowed {sorted(allowed)}: {places}"


def _appends(world: World, files: dict[str, bytes]) -> Iterator[str]:
    """What somebody appended to is there as it was, or longer."""
    found = set(files.values())
    for old in world.journal.extended:
        chain = [old]
        while (longer := world.journal.extended.get(chain[-1])) is not None:
            chain.append(longer)
        if found.isdisjoint(chain):
            yield f"P3: {_short(old)} is lost, and what was appended to it too"


def _paths(world: World, files: dict[str, bytes], rows: list[Arrival]) -> Iterator[str]:
    """What was renamed together is together, and has no path but those that were asked for."""
    found = {files[row.location]: row.path for row in rows if row.location in files}
    for alternatives in world.journal.paths:
        if not any(all(found.get(content, path) == path for content, path in paths.items()) for paths in alternatives):
            yield f"P3: {sorted(found.values())} should be one of {[sorted(paths.values()) for paths in alternatives]}"


def _contracts(files: dict[str, bytes], contents: Container[bytes], why: str) -> Iterator[str]:
    """What contracts hold is where no tool finds it."""
    for where, content in files.items():
        if content in contents and where.startswith(_RUNNABLE):
            yield f"P1: {_short(content)} is at {where}, and {why}"


def _agreement(world: World, files: dict[str, bytes], rows: list[Arrival]) -> Iterator[str]:
    places: Counter[str] = Counter()
    for row in rows:
        if row.state is ArrivalState.LOST:
            yield f"{row.path} is recorded as lost"
        if row.state is ArrivalState.REPLACED and not any(other.path == row.path and other.seq != row.seq for other in rows):
            yield f"P3: {row.path} was replaced by nothing"
        if row.pending_from is not None:
            yield f"{row.path}: a move is pending: {row.pending_from} to {row.location}"
        if row.location is None:
            if row.state in LIVE_STATES:
                yield f"{row.path} is {row.state} and has no place"
            continue
        places[row.location] += 1
        content = files.get(row.location)
        if content is None:
            yield f"{row.path} is {row.state} and not at {row.location}"
        elif row.sha256 and hashlib.sha256(content).hexdigest() != row.sha256:
            yield f"{row.path} at {row.location} is another file"
    yield from (f"{where} has {count} rows" for where, count in places.items() if count > 1)
    for where, content in files.items():
        if not places[where] and not where.startswith("drop/") and content not in world.journal.strangers:
            yield f"{where} is no arrival's"


def _partials(world: World) -> Iterator[str]:
    """What a user can resume begins as what it sent, and is not an arrival's file."""
    for user in world.system.staging.users():
        for partial in world.system.staging.partials(user):
            sent = world.journal.sent.get(partial.path, [])
            kept = (world.data / "store/.sftpgate/staging" / user / partial.upload).read_bytes()[: partial.size]
            if not any(content.startswith(kept) for content in sent):
                yield f"P1: the interrupted upload of {partial.path} is not what was sent: {_short(kept)}"


def _copies(world: World) -> Iterator[str]:
    """Copies that were under way between two filesystems."""
    yield from (f"a copy was left: {path}" for path in world.data.rglob(f"{_COPY}*"))


def _short(content: bytes) -> str:
    return f"{content[:20]!r} ({len(content)} bytes)"
