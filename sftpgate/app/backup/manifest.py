"""What a backup is on disk, and how it is known to be whole.

    DIR/manifest.json     what it is a backup of, and the SHA-256 of the two next ones; written last: without it, it is none
    DIR/files.jsonl       one line for each file and directory: where it belongs, mode, time, size and SHA-256
    DIR/ledger.db         the ledger, as it was at one moment
    DIR/contents/ab/ab…   each content once, named by its SHA-256

Places are ``store/…``, ``drop/…``, ``keys/…`` and ``settings``. Blocks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from sftpgate.errors import Refused

MANIFEST, FILES, LEDGER, CONTENTS = "manifest.json", "files.jsonl", "ledger.db", "contents"
FORMAT = 1
STORE, DROP, KEYS, SETTINGS = "store", "drop", "keys", "settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup is of. ``made_at``: ISO 8601, UTC: the moment whose state it has."""

    format: int
    version: str
    schema: int
    made_at: str
    gate: str
    files: int
    content_bytes: int
    files_sha256: str
    ledger_sha256: str

    def as_json(self) -> bytes:
        """Return it as it is written."""
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One file of a backup, or one directory, which has no SHA-256."""

    place: str
    mode: int
    mtime_ns: int = 0
    size: int = 0
    sha256: str = ""

    def as_line(self) -> bytes:
        """Return it as it is written. Names that are not UTF-8 keep their bytes as surrogates."""
        return json.dumps(asdict(self)).encode() + b"\n"


def read_manifest(directory: Path) -> Manifest:
    """Return what a directory is a backup of. Raises Refused if it is none, or not whole."""
    try:
        text = (directory / MANIFEST).read_text()
    except FileNotFoundError as error:
        what = "was cut off, and is no backup" if (directory / CONTENTS).is_dir() else "is no backup"
        raise Refused(f"{directory} {what}: it has no {MANIFEST}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{directory / MANIFEST} cannot be read: {error}") from error
    try:
        values = json.loads(text)
        found = Manifest(**values)
    except (ValueError, TypeError) as error:
        raise Refused(f"{directory / MANIFEST} is damaged, or was made by a later version of sftpgate") from error
    if found.format != FORMAT:
        raise Refused(f"the backup has format {found.format}, this program knows {FORMAT}: use the program that made it")
    return found


def kept_files(directory: Path) -> Iterator[Kept]:
    """Yield what is in a backup, whose ``files.jsonl`` was compared with the manifest."""
    with (directory / FILES).open("rb") as file:
        for line in file:
            yield Kept(**json.loads(line))


def content_file(directory: Path, sha256: str) -> Path:
    """Return where a content lies in a backup."""
    return directory / CONTENTS / sha256[:2] / sha256


def sha256_of_file(file: Path) -> str:
    """Return the SHA-256 of a file, hex. Raises OSError."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def problems(directory: Path, manifest: Manifest) -> Iterator[str]:
    """Yield what is damaged or missing in a backup: every file of it is read."""
    for name, expected in ((FILES, manifest.files_sha256), (LEDGER, manifest.ledger_sha256)):
        if (found := _digest(directory / name)) != expected:
            yield f"{name} is damaged" if found else f"{name} is missing"
            if name == FILES:
                return
    seen: set[str] = set()
    for kept in kept_files(directory):
        if not is_place(kept.place):
            yield f"{kept.place!r} is no place of a gate"
        if not kept.sha256 or kept.sha256 in seen:
            continue
        seen.add(kept.sha256)
        found = _digest(content_file(directory, kept.sha256))
        if found != kept.sha256:
            yield f"the content of {kept.place} is {'damaged' if found else 'missing'}"


def is_place(place: str) -> bool:
    """Return whether something may be put there: nothing leads out of a gate."""
    parts = PurePosixPath(place).parts
    return bool(parts) and parts[0] in (STORE, DROP, KEYS, SETTINGS) and ".." not in parts and "\0" not in place


def _digest(file: Path) -> str:
    try:
        return "" if file.is_symlink() else sha256_of_file(file)
    except OSError:
        return ""


def is_inside(path: Path, directory: Path) -> bool:
    """Return whether ``path`` is ``directory`` or in it, links followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory))
