"""The notes of uploads: from which an upload is resumed that did not end with a CLOSE, also after a restart.

A note lies beside its staging file. It is called ``<upload>.<hash of its path>.json``, so that a look at one path opens the
notes of that path alone, however many others the user has. Those of earlier versions are called ``<upload>.json``. A crash
leaves two notes of one upload if it was being renamed, of which the later holds. Everything blocks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from sftpgate.errors import NoSuchFile
from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.policy.sharing import Handle, Share
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.layout import Layout

NOTE_SUFFIX = ".json"
_HASH_DIGITS = 16  # 64 bits: two paths of one user that share them cost a look more, and nothing else

Notes = Mapping[str, Sequence[str]]  # the names of notes, by upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """An interrupted upload (or one that another connection still has open), as its note and its file tell.

    ``notes`` are the names of its notes: one, or two after a crash. ``continues`` is the finished file that it changes, if it
    is no new one: it is worth nothing without that.
    """

    upload: str
    user: str
    path: str
    size: int
    mtime_ns: int
    noted_at: datetime
    notes: Sequence[str]
    continues: ArrivalId | None = None
    handle: Handle


class NoteFiles:
    """The notes of all users, as they lie in staging."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk

    def of(self, user: str) -> Notes:
        """Return the names of all notes of ``user``, by upload."""
        found: dict[str, list[str]] = {}
        for name in self._disk.names(self._layout.staging(user)):
            if name.endswith(NOTE_SUFFIX) and not name.startswith("."):
                found.setdefault(name.partition(".")[0], []).append(name)
        return found

    def partials(self, user: str) -> Iterator[Partial]:
        """Yield the uploads of ``user`` that can be resumed, and noted ones that are open, newest last."""
        for upload, notes in sorted(self.of(user).items()):
            if (partial := self.read(user, upload, notes)) and partial.size:
                yield partial

    def partial_at(self, user: str, path: str) -> Partial | None:
        """Return the newest upload of ``user`` to ``path`` that can be resumed."""
        return next((partial for partial in self.at(user, path) if partial.size), None)

    def at(self, user: str, path: str, notes: Notes | None = None) -> Iterator[Partial]:
        """Yield the uploads to a path that have a note, newest first."""
        found = self.of(user) if notes is None else notes
        wanted = path_hash(path)
        for upload in sorted(found, reverse=True):
            if any(_hash_in(note) in ("", wanted) for note in found[upload]):
                partial = self.read(user, upload, found[upload])
                if partial is not None and partial.path == path:
                    yield partial

    def read(self, user: str, upload: str, notes: Sequence[str]) -> Partial | None:
        """Return what the latest good note of an upload says; None if there is none, or its file is gone. ``size`` is 0 if
        nothing can be resumed.
        """
        directory = self._layout.staging(user)
        status = self._disk.lstat(directory / upload)
        if status is None:
            return None
        found: list[tuple[int, datetime, str, Partial]] = []
        for name in notes:
            try:
                note = json.loads(self._disk.read_small(directory / name))
                partial = _partial_of(note, user, upload, status)
                names = (*(other for other in notes if other != name), name)
                found.append((int(note.get("number", 0)), partial.noted_at, name, replace(partial, notes=names)))
            except (AttributeError, ValueError, KeyError, TypeError, NoSuchFile):
                continue
        return max(found, key=lambda each: each[:3])[-1] if found else None

    def write(self, disk_path: DiskPath, content: Mapping[str, object]) -> None:
        """Write a note, whole or not at all."""
        self._disk.write_small(disk_path, json.dumps(content, ensure_ascii=False).encode())


def _partial_of(note: Mapping[str, Any], user: str, upload: str, status: os.stat_result) -> Partial:
    """Return what a note says. Raises what one that is none of ours makes Python raise."""
    return Partial(
        upload=upload,
        user=user,
        path=note["path"],
        size=_trusted_size(status.st_size, note),
        mtime_ns=status.st_mtime_ns,
        noted_at=datetime.fromisoformat(note["noted_at"]),
        notes=(),
        continues=note.get("continues"),
        handle=Handle(
            id=upload,
            share=Share(note.get("share", Share.WHOLE)),
            truncated=note.get("truncated", True),
            goes_on_with=note.get("goes_on_with") or "",
            ended=note.get("ended", ""),
        ),
    )


def path_hash(path: str) -> str:
    """Return what stands for a path in the name of a note."""
    return hashlib.blake2b(path.encode(), digest_size=_HASH_DIGITS // 2).hexdigest()


def note_name(upload: str, path: str) -> str:
    """Return the name of the note of an upload to ``path``."""
    return f"{upload}.{path_hash(path)}{NOTE_SUFFIX}"


def _hash_in(name: str) -> str:
    """Return the hash in the name of a note; empty for a note of an earlier version."""
    return name.removesuffix(NOTE_SUFFIX).partition(".")[2]


def _trusted_size(size: int, note: Mapping[str, object]) -> int:
    """How many bytes of a staging file can be resumed from.

    After a reboot only what was flushed: the page cache of the machine before may be lost while the size survived.
    Before one, all of it, unless the note says that there were gaps.
    """
    if note["boot"] != boot_id():
        return min(size, int(str(note["synced_bytes"])))
    trusted = note["trusted_bytes"]
    return size if trusted is None else min(size, int(str(trusted)))


@cache
def boot_id() -> str:
    """Which start of this machine we run in (Linux: proc(5))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
