"""What lies beside many files of the same directories, for a pass that takes them one batch after the other.

A look at each spelling of each companion costs some fifty system calls for a file. Here a directory is listed once for all of its
files, if that takes less time, and again when the listing is a second old. So what a change is told is up to a second
old. ``appeared`` says which files something has come beside since they were asked for: the pass looks at those again (see
``second_looks``), as at every file whose companion came while it was placed.

Not for uploads: whoever sent a checksum file and then the file counts on it. Everything blocks; nothing is changed. One thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sftpgate.handover.placement.companions import Beside, Companions, among
from sftpgate.ids import Uptime

_FRESH_SECONDS = 1.0  # far below the time for which a file has to be quiet; a listing of 100,000 names takes 50 ms


@dataclass(slots=True)
class _Listing:
    """The companions in a directory at a time, and the files that were asked for since."""

    at: float
    names: frozenset[str]
    asked: list[str] = field(default_factory=list)


class Surroundings:
    """One instance per pass."""

    def __init__(self, companions: Companions, uptime: Uptime) -> None:
        self._companions = companions
        self._uptime = uptime
        self._listings: dict[str, _Listing] = {}
        self._appeared: list[str] = []

    def beside(self, paths: Iterable[str]) -> dict[str, Beside]:
        """Return the companions of each of these files of the drop. Files are left out if a look at each of them takes less
        time.
        """
        by_directory: dict[str, list[str]] = {}
        for path in paths:
            by_directory.setdefault(path.rpartition("/")[0], []).append(path)
        found: dict[str, Beside] = {}
        for directory, files in by_directory.items():
            listing = self._listing(directory, len(files))
            if listing is not None:
                listing.asked += files
                found.update((path, among(path, listing.names)) for path in files)
        return found

    def appeared(self, *, end: bool = False) -> list[str]:
        """Return files that something has come beside since they were asked for, each once; as far as a new listing has shown it.
        ``end``: list the directories once more.
        """
        if end:
            for directory, listing in self._listings.items():
                self._compare(listing, self._companions.names_in(directory) or frozenset())
            self._listings.clear()
        found, self._appeared = self._appeared, []
        return list(dict.fromkeys(found))

    def _listing(self, directory: str, files: int) -> _Listing | None:
        known, now = self._listings.get(directory), self._uptime()
        if known is not None and now - known.at < _FRESH_SECONDS:
            return known
        names = self._companions.names_in(directory, files=files)
        if names is None:
            return None
        if known is not None:
            self._compare(known, names)
        self._listings[directory] = fresh = _Listing(now, names)
        return fresh

    def _compare(self, listing: _Listing, names: frozenset[str]) -> None:
        if fresh := names - listing.names:
            self._appeared += [path for path in listing.asked if among(path, fresh)]
