"""Names and paths as a client sends them: which can be stored, and which a runner may ever see.

Pure. A ``VirtualPath`` is absolute, in normal form (no ``.``, ``..``, empty component or trailing slash) and valid
UTF-8 text; everything behind ``normalise`` can rely on that. Dots are resolved on the text, as the SFTP draft asks
(filexfer-02 §6.11), so that no path ever climbs above ``/``; symbolic links are never followed, so text and disk cannot
disagree.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import product
from typing import NewType

from sftpgate.errors import NameRefused
from sftpgate.hidden_names import BATCH_LOCK_NAME, COMPANION_SUFFIXES, IGNORED_SUFFIXES, MANAGED_NAME

VirtualPath = NewType("VirtualPath", str)

MAX_NAME_BYTES = 255  # NAME_MAX of ext4, xfs and btrfs
MAX_PATH_BYTES = 3072  # well below PATH_MAX (4096), which must hold the store's own directory too
MAX_STORED_PATH_BYTES = MAX_PATH_BYTES - 64  # below the drop: with the mount's name before it, a client can still name it
MAX_DEPTH = 64  # directories below the drop; nobody needs more, and recursion over them stays cheap

CONSUMER_LOCK_NAME = "lock.txt"  # the stock consumer's own lock: never a command file
_CONSUMER_SKIPS = "lock"  # in a name, in small letters: it takes that for a lock file


def folded(name: str) -> str:
    """Return ``name`` in the form in which reserved names are compared: any letter case and any Unicode form of them is the
    same.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).rstrip(". ")


def is_managed(name: str) -> bool:
    """Return True for the names of our own directory and of files that we have under way in the drop."""
    if name.isascii():  # nearly all are, and folding takes longer than the rest of a look at a file
        return name.lower().startswith(MANAGED_NAME)
    return folded(name).startswith(MANAGED_NAME)


def decode(raw: bytes) -> str:
    """Return the text of a name or path that a client sent. Raises NameRefused if it is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NameRefused("the name is not valid UTF-8 (rule: names are UTF-8)") from error


def normalise(raw: bytes, start: VirtualPath) -> VirtualPath:
    """Return the absolute path that ``raw`` means for a client whose current directory is ``start``."""
    text = decode(raw)
    if "\0" in text:
        raise NameRefused("the name contains a NUL character (rule: no control characters in names)")
    if len(raw) > MAX_PATH_BYTES:
        raise NameRefused(f"the path is longer than {MAX_PATH_BYTES} bytes")
    parts: list[str] = [] if text.startswith("/") else split(start)
    for part in text.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return VirtualPath("/" + "/".join(parts))


def means_directory(raw: bytes) -> bool:
    """Return whether a path that a client sent can only be a directory's: it ends in a slash, or in one and a dot."""
    return raw.endswith((b"/", b"/."))


def split(path: str) -> list[str]:
    """Return the components of a path in normal form."""
    return [part for part in path.split("/") if part]


def check_storable(inner: str) -> None:
    """Refuse a path below the drop, relative and in normal form, that cannot be stored, naming the rule."""
    parts = split(inner)
    if len(parts) > MAX_DEPTH:
        raise NameRefused(f"the path is more than {MAX_DEPTH} directories deep")
    if len(inner.encode()) > MAX_STORED_PATH_BYTES:
        raise NameRefused(f"the path is longer than {MAX_STORED_PATH_BYTES} bytes (rule: a client can name every file)")
    for name in parts:
        if len(name.encode()) > MAX_NAME_BYTES:
            raise NameRefused(f"the name is longer than {MAX_NAME_BYTES} bytes (rule: names have at most {MAX_NAME_BYTES} bytes)")
        if not name.isprintable() and any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name):
            raise NameRefused("the name contains a control character (rule: no control characters in names)")
        if is_managed(name):
            raise NameRefused(f"names that begin with {MANAGED_NAME} are the system's own (rule: reserved names)")


def is_storable(inner: str) -> bool:
    """Return whether a path that lies in the drop could have been sent by a client."""
    try:
        check_storable(inner)
    except (UnicodeEncodeError, NameRefused):
        return False
    return True


def is_text(name: str) -> bool:
    """Return whether a name that came from bytes was UTF-8: others have surrogates in the place of what is not."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


class Eligibility(StrEnum):
    """Whether runners may ever see a name, or the rule by which they don't."""

    ELIGIBLE = "eligible"
    HIDDEN = "hidden"
    UNDERSCORE = "underscore"
    TEMPORARY = "temporary"
    COMPANION = "companion"
    LOCK = "lock"


# Names that programs make up while they write, with something random or counted in them; compared in small letters. What a person
# may have called a file (users.temp.csv, export.part1) is none of them.
_MADE_UP = re.compile(
    r"""
    .+\.[0-9a-f]{32}                                        # Azure Data Factory: NAME.<32 hex digits>
    | .+\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}        # NAME.<UUID>
    | .+\.(?:tmp|temp)[-._]?[0-9]+(?:[-._][0-9]+)*           # NAME.tmp.<process>, NAME.tmp<number>
    | .+\.(?:tmp|temp|partial)[-._](?=[a-z]*[0-9])[0-9a-z]{6,}  # NAME.tmp.<random>, as mkstemp makes them
    | .+\.part[-_][^.]*                                     # NAME.part-<number>: pieces of a download
    | ~\$.+                                                 # Microsoft Office beside an open file
    | \#.+\#                                                # Emacs' copy of a file that is being changed
    """,
    re.VERBOSE,
)
_SPELLED_OUT = 8  # letters: the 256 spellings of alock.txt


@lru_cache
def spellings(name: str) -> tuple[str, ...]:
    """Return ``name`` in every letter case, as it is first; of a long name those that programs write: small, capital, and with
    capital initials.
    """
    forms = [(character.lower(), character.upper()) if len(character.upper()) == 1 else (character,) for character in name]
    if sum(len(set(form)) > 1 for form in forms) <= _SPELLED_OUT:
        found = ["".join(form) for form in product(*map(dict.fromkeys, forms))]
    else:
        found = [name.lower(), name.upper(), name.capitalize(), name.title()]
    return tuple(dict.fromkeys([name, *found]))


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRules:
    """The configurable part of eligibility: names and suffixes, compared without regard to letter case. ``ignore_made_up``:
    whether the random names that programs give to files that they are writing are temporary ones too.
    """

    batch_lock_name: str = BATCH_LOCK_NAME
    ignored_suffixes: tuple[str, ...] = IGNORED_SUFFIXES
    ignore_made_up: bool = True
    companion_suffixes: tuple[str, ...] = COMPANION_SUFFIXES
    _locks: frozenset[str] = field(init=False, repr=False, compare=False)
    _temporary: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _companions: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_locks", frozenset(spellings(self.batch_lock_name)))
        object.__setattr__(self, "_temporary", tuple(suffix.casefold() for suffix in self.ignored_suffixes))
        object.__setattr__(self, "_companions", tuple(suffix.casefold() for suffix in self.companion_suffixes))

    def eligibility(self, path: str) -> Eligibility:
        """Return whether the file at ``path`` (relative to the drop) may be taken into the store."""
        parts = split(path)
        name = parts[-1].casefold()
        if any(part.startswith(".") for part in parts):
            return Eligibility.HIDDEN
        if any(part.startswith("_") for part in parts):
            return Eligibility.UNDERSCORE
        if parts[-1] in self._locks or name == CONSUMER_LOCK_NAME:
            return Eligibility.LOCK
        if name.endswith(self._temporary) or (self.ignore_made_up and _MADE_UP.fullmatch(name)):
            return Eligibility.TEMPORARY
        if name.endswith(self._companions):
            return Eligibility.COMPANION
        return Eligibility.ELIGIBLE

    def eligible(self, path: str) -> bool:
        """Return True if runners may see the file at ``path``."""
        return self.eligibility(path) is Eligibility.ELIGIBLE

    def is_batch_lock(self, path: str, home: str) -> bool:
        """Return True if ``path`` is the batch lock of the users whose home is ``home``: it lies at the top of what they see."""
        top, _, name = path.rpartition("/")
        return top == home and name in self._locks

    def locks_above(self, home: str) -> bool:
        """Return whether the directory ``home``, or one above it, would be a batch lock of those who see it."""
        return not self._locks.isdisjoint(split(home))

    @property
    def batch_lock_names(self) -> frozenset[str]:
        """The batch lock's name in every letter case that counts."""
        return self._locks

    def spoken_of(self, path: str) -> str | None:
        """Return the file that the companion ``path`` speaks of by its whole name, or None if it is no companion."""
        folded_path = path.casefold()
        for suffix in self._companions:
            if folded_path.endswith(suffix) and len(split(path)[-1]) > len(suffix):
                return path[: -len(suffix)]
        return None


def join(base: str, name: str) -> str:
    """Return ``name`` below the relative directory ``base``, which may be empty."""
    return f"{base}/{name}" if base else name


def parent(path: str) -> str:
    """Return the directory of a relative path; empty at the top."""
    return path.rpartition("/")[0]


def is_skipped_by_consumer(name: str) -> bool:
    """Return whether the stock consumer leaves out a file of this name that we would give it, such as ``blocks.csv``."""
    return _CONSUMER_SKIPS in name
