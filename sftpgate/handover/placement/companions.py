"""Companions: the checksum files and done-files that lie beside a file in the drop and speak of it, in any letter case of their
suffix. ``NAME.csv.sha256`` and ``NAME.csv.md5`` speak of ``NAME.csv``; so do the done-files ``NAME.csv.done`` and ``NAME.done``,
and the same with ``.ok``.

A SHA-256 is known of every arrival. An MD5 is made only for a file that has a ``.md5`` beside it, by ``hash_first``, which
callers run *before* they take the store's lock: reading gigabytes under it would keep everybody's CLOSE waiting. What
was hashed is remembered by arrival, whose content never changes. A companion that appears between the two is not seen
for that moment, and is looked at right after (see ``second_looks``). For many files at once: ``surroundings``.

Everything blocks. Nothing here changes anything, so a crash leaves nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from threading import Lock

from sftpgate.errors import SftpgateError
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import Location, location
from sftpgate.policy.names import NameRules, spellings
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import translated
from sftpgate.store.layout import Layout

_DIGITS = {".sha256": 64, ".md5": 32}
_DONE_SUFFIXES = (".done", ".ok")
_CHECKSUM_SUFFIXES = {spelled: suffix for suffix in _DIGITS for spelled in spellings(suffix)}
_MD5_SUFFIXES = spellings(".md5")
_SPELLED_DONE_SUFFIXES = tuple(spelled for suffix in _DONE_SUFFIXES for spelled in spellings(suffix))
_SPELLINGS = len(_CHECKSUM_SUFFIXES) + 2 * len(_SPELLED_DONE_SUFFIXES)  # of the companions of a file
_CHECKSUM_LINE = re.compile(r"\\?([0-9a-fA-F]+)(?:[ \t]+\*?(.*))?")
_REMEMBERED = 10_000  # files that are held beside a .md5 at a time; one more costs reading it again

Beside = frozenset[str]  # paths of the companions that are there
NOTHING_KNOWN: Mapping[str, Beside] = {}
_SUFFIXES = (*_DIGITS, *_DONE_SUFFIXES)


class Companions:
    """Looks at what lies beside a file. One instance per process; any thread."""

    def __init__(self, layout: Layout, disk: Disk, names: NameRules) -> None:
        self._layout = layout
        self._disk = disk
        self._names = names
        self._md5: OrderedDict[ArrivalId, str] = OrderedDict()
        self._lock = Lock()

    def beside(self, path: str) -> Beside:
        """Return the companions of ``path`` that are in the drop."""
        top, slash, name = path.rpartition("/")
        found = self._disk.present(self._layout.disk_path(location(Area.DROP, top)), _candidates(name))
        return frozenset(top + slash + companion for companion in found)

    def names_in(self, directory: str, *, files: int | None = None) -> frozenset[str] | None:
        """Return the names of all companions in a directory of the drop, whatever they speak of. None if ``beside`` takes
        less time for so many ``files``.
        """
        looks = None if files is None else files * _SPELLINGS
        where = self._layout.disk_path(location(Area.DROP, directory))
        found = self._disk.matching(where, lambda name: name.lower().endswith(_SUFFIXES), looks=looks)
        return None if found is None else frozenset(found)

    def has_done_file(self, path: str, beside: Beside) -> bool:
        """Return whether a done-file is beside a file."""
        return bool(beside) and any(done in beside for done in _done_files(path))

    def hash_first(self, items: Iterable[Arrival], known: Mapping[str, Beside] = NOTHING_KNOWN) -> None:
        """Make the MD5 of those files that have a ``.md5`` beside them, for the change that places them next. Without the store's
        lock: it reads whole files. A change that goes without this places its files as well, and notes those in
        ``Change.unverified``. Names that are never taken are left out. ``known``: what lies beside some of the files, by path.
        """
        by_directory: dict[str, dict[str, list[Arrival]]] = {}
        for item in items:
            if not self._names.eligible(item.path):
                continue
            if (beside := known.get(item.path)) is not None:
                if _asks_for_md5(item, beside):
                    self._remember([item])
                continue
            top, _, name = item.path.rpartition("/")
            for suffix in _MD5_SUFFIXES:
                by_directory.setdefault(top, {}).setdefault(name + suffix, []).append(item)
        for top, asked in by_directory.items():
            for name in self._disk.present(self._layout.disk_path(location(Area.DROP, top)), asked):
                self._remember(asked[name])

    def _remember(self, items: Iterable[Arrival]) -> None:
        for item in items:
            if item.id not in self._md5 and (digest := self._md5_of(item)):
                with self._lock:
                    self._md5[item.id] = digest
                    while len(self._md5) > _REMEMBERED:
                        self._md5.popitem(last=False)

    def is_unhashed(self, item: Arrival, beside: Beside) -> bool:
        """Return whether a companion asks for an MD5 that was not made: it appeared after ``hash_first``."""
        return item.id not in self._md5 and _asks_for_md5(item, beside)

    def checksums(self, item: Arrival, beside: Beside) -> dict[str, bool]:
        """Return the checksum files beside a file, by name, and whether each speaks for it: False if it is malformed, or
        speaks of another content.
        """
        if not beside:
            return {}
        known = {".sha256": item.sha256, ".md5": self._md5.get(item.id)}
        name = item.path.rpartition("/")[2]
        return {
            name + spelled: self._read_checksum(location(Area.DROP, item.path + spelled), item.path, _DIGITS[suffix])
            == known[suffix]
            for spelled, suffix in _CHECKSUM_SUFFIXES.items()
            if item.path + spelled in beside and known[suffix] is not None
        }

    def _read_checksum(self, where: Location, path: str, digits: int) -> str | None:
        """Return the checksum of ``path`` in a file as ``sha256sum`` and ``md5sum`` write it, or with the checksum alone; None
        if it has none.
        """
        name = path.rpartition("/")[2]
        try:
            text = self._disk.read_small(self._layout.disk_path(where)).decode("utf-8", "replace")
        except SftpgateError:
            return None
        lines = [match for line in text.splitlines() if (match := _CHECKSUM_LINE.fullmatch(line.strip().lstrip("\ufeff")))]
        fitting = [match[1].lower() for match in lines if len(match[1]) == digits and match[2] in (None, "", name)]
        others = [match[1].lower() for match in lines if len(match[1]) == digits]
        # A single line that names another file (a path of the ERP's machine, usually) speaks of this one all the same.
        return fitting[0] if fitting else others[0] if len(others) == 1 else None

    def _md5_of(self, item: Arrival) -> str | None:
        """Return the MD5 of a file. None if it cannot be read now: it is being moved, and is looked at again.

        Its record names the place where it was until the move from there is durable, which is made already, nearly always.
        """
        for where in (item.pending_from, item.location):
            if where is None:
                continue
            with contextlib.suppress(SftpgateError):
                fd = self._disk.open_read(self._layout.disk_path(where))
                with os.fdopen(fd, "rb") as file, translated("read for its checksum"):
                    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        return None


def stem_of(path: str) -> str | None:
    """Return ``sub/NAME`` of ``sub/NAME.csv``; None if the name has no extension."""
    top, slash, name = path.rpartition("/")
    stem = name.rpartition(".")[0]
    return top + slash + stem if stem else None


def stem_released_by(path: str) -> str | None:
    """Return ``sub/NAME`` of the done-file ``sub/NAME.done``, which speaks of every ``sub/NAME.<extension>``; None for other
    names.
    """
    return next((path[: -len(suffix)] for suffix in _SPELLED_DONE_SUFFIXES if path.endswith(suffix)), None)


def among(path: str, names: Collection[str]) -> Beside:
    """Return the companions of ``path`` among the names of its directory."""
    if not names:
        return frozenset()
    top, slash, name = path.rpartition("/")
    return frozenset(top + slash + companion for companion in _candidates(name) if companion in names)


def _asks_for_md5(item: Arrival, beside: Beside) -> bool:
    return bool(beside) and any(item.path + suffix in beside for suffix in _MD5_SUFFIXES)


def _candidates(name: str) -> list[str]:
    """Return every name of a companion of ``name``."""
    return [name + suffix for suffix in _CHECKSUM_SUFFIXES] + _done_files(name)


def _done_files(path: str) -> list[str]:
    """Return every name of a done-file of ``path``."""
    stem = stem_of(path)
    return [of + suffix for of in (path, *([stem] if stem else ())) for suffix in _SPELLED_DONE_SUFFIXES]
