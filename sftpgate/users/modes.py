"""Whether anybody but the admin could have written a file of the keys directory: the owner and mode of the file, and of every
directory on the way to it, links included. As sshd's StrictModes (sshd_config(5), ``safe_path`` in misc.c), and for the same
reason: who can write there can let himself in.

- A file belongs to root or to the user that the server runs as; if root asks, also to the owner of the keys directory.
- From the keys directory on, and wherever a link from it leads, nobody else may write, in a sticky directory neither: there,
  anybody can make a new user. A group that has the owner as its only member (a user's private group) is nobody else.
- In the directories above, such as ``/tmp``, others may write if they cannot rename what is not theirs (sticky).

A look costs an ``lstat`` for each part of the path. Nothing is opened.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_MOST_LINKS = 40  # as the kernel: MAXSYMLINKS
_ROOT = 0
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, slots=True)
class Unsafe:
    """What is wrong with a file or directory on the way, and what to do."""

    path: Path
    what: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}: {self.what_to_do}"


def unsafe(path: Path, keys_dir: Path) -> Unsafe | None:
    """Return what is unsafe on the way to ``path``, which is ``keys_dir`` or lies below it; None if nothing is.

    What does not exist, or cannot be looked at, is not unsafe: whoever opens it says so.
    """
    try:
        return _walk(path, keys_dir)
    except OSError:
        return None


class Watchman:
    """Looks at the ways to the files of one keys directory, again and again: what lies above is looked at once a second."""

    def __init__(self, keys_dir: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys_dir = keys_dir
        self._clock = clock
        self._seen: dict[Path, tuple[float, Unsafe | None]] = {}

    def unsafe(self, *paths: Path, anew: bool = False) -> Unsafe | None:
        """Return the first thing that is unsafe on the way to one of ``paths``; None if nothing is. The first one lies
        beside, or is the directory of, the others. ``anew``: whatever was seen a moment ago, for who is about to read them.
        """
        directory = paths[0].parent
        now = self._clock()
        seen = self._seen.get(directory)
        if anew or seen is None or not 0 <= now - seen[0] < _SECONDS_BETWEEN_LOOKS:
            seen = self._seen[directory] = now, unsafe(directory, self._keys_dir)
        return seen[1] or next(filter(None, map(self._unsafe_entry, paths)), None)

    def _unsafe_entry(self, path: Path) -> Unsafe | None:
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                return unsafe(path, self._keys_dir)
            return _problem(path, status, _owners(self._keys_dir), strict=True)
        except OSError:
            return None


def _walk(path: Path, keys_dir: Path) -> Unsafe | None:
    top = Path(os.path.abspath(keys_dir))  # noqa: PTH100 - Path.resolve would follow the links that are to be looked at
    owners = _owners(top)
    ahead = [(part, False) for part in top.parts[1:-1]] + [(top.name, True)]
    ahead += [(part, True) for part in Path(os.path.abspath(path)).relative_to(top).parts]  # noqa: PTH100
    at = Path("/")
    above: set[tuple[int, int]] = set()
    status = at.lstat()
    above.add((status.st_dev, status.st_ino))
    links = 0
    while ahead:
        part, strict = ahead.pop(0)
        if part == "..":
            at = at.parent
            continue
        here = at / part
        status = here.lstat()
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if status.st_uid not in owners:
                return _foreign(here, status)
            if links > _MOST_LINKS:
                return None  # nobody can open it
            target = here.readlink()
            at = Path("/") if target.is_absolute() else at
            ahead = [(step, strict) for step in target.parts if step != "/"] + ahead
            continue
        at = here
        if not strict:
            above.add((status.st_dev, status.st_ino))
        elif (status.st_dev, status.st_ino) in above:
            strict = False
        if problem := _problem(at, status, owners, strict=strict):
            return problem
    return None


def _owners(top: Path) -> set[int]:
    """Return who may own what is on the way."""
    owners = {_ROOT, os.geteuid()}
    if os.geteuid() == _ROOT:
        owners.add(top.stat().st_uid)
    return owners


def _problem(path: Path, status: os.stat_result, owners: set[int], *, strict: bool) -> Unsafe | None:
    mode = status.st_mode
    if status.st_uid not in owners:
        return _foreign(path, status)
    if mode & stat.S_IWOTH and (strict or not mode & stat.S_ISVTX):
        return Unsafe(path, "can be written by everybody on this machine: they could let themselves in", f"chmod go-w {path}")
    if strict and mode & stat.S_IWGRP and not _is_private(status.st_gid, status.st_uid):
        return Unsafe(path, "can be written by others: they could let themselves in", f"chmod go-w {path}")
    return None


def _foreign(path: Path, status: os.stat_result) -> Unsafe:
    what_to_do = f"give it to the user that the server runs as: chown -h USER {path}"
    return Unsafe(path, f"belongs to {_name(status.st_uid)}, who could let himself in", what_to_do)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user with the number {uid}"


@lru_cache(maxsize=256)
def _is_private(gid: int, uid: int) -> bool:
    """Return whether the group is the private one of the user: of its name, its primary one, and without other members."""
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
