"""Changing the server's own keys without anybody being turned away.

A rotation has two acts. It begins with new keys in ``host/next``, and a file ``due`` there that says when they take over. Until
then the server shows its clients the old keys and announces the new ones, and those that can learn (OpenSSH with
UpdateHostKeys) put them into their ``known_hosts``; the others get them from their admins. At its end the new keys take the
place of the old ones, which are kept in ``host/previous`` until somebody removes them or the next rotation ends.

After a crash the beginning has happened or not. The end is repeated by the next one that comes along, whatever of it was
done: each file is replaced whole, a public half that is missing is made from its private one, and ``host/next`` goes last.
All functions block; changes are made under the lock of ``host``.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sftpgate.errors import HostKeyError, Refused, UserFileError
from sftpgate.users.files import locked, make_directory, new_directory, read_text, remove_directory, write_text
from sftpgate.users.host_keys.files import KINDS, PUBLIC_MODE, HostKey, file_name, make_host_keys, public_file, public_halves

_DUE = "due"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A rotation that has begun."""

    due_at: datetime
    keys: list[HostKey]  # the next ones


def pending_rotation(keys_dir: Path) -> Rotation | None:
    """Return the rotation that is under way, or None. Raises HostKeyError if its files cannot be used."""
    directory = keys_dir / "host" / "next"
    if not directory.is_dir():
        return None
    try:
        text = (read_text(directory / _DUE) or "").strip()
        due_at = datetime.fromisoformat(text)
    except (UserFileError, ValueError) as error:
        raise HostKeyError(f"{directory / _DUE}: no time can be read from this: remove {directory} to begin anew") from error
    if due_at.tzinfo is None:
        raise HostKeyError(f"{directory / _DUE}: the time has no zone: 2030-01-31T12:00:00+00:00")
    return Rotation(due_at=due_at.astimezone(UTC), keys=public_halves(directory))


def next_files(keys_dir: Path) -> list[Path]:
    """Return the private keys to announce, best first; none if no rotation is under way."""
    paths = [keys_dir / "host" / "next" / file_name(kind) for kind in KINDS]
    return [path for path in paths if path.exists()]


def begin_rotation(keys_dir: Path, due_at: datetime) -> Rotation:
    """Make the next keys, to take over at ``due_at``. Raises Refused if a rotation is under way already."""
    directory = keys_dir / "host"
    with locked(directory):
        known = pending_rotation(keys_dir)
        if known is not None:
            raise Refused(f"a rotation is under way until {known.due_at:%Y-%m-%d %H:%M}Z: finish it, or cancel it")
        with new_directory(directory / "next") as fresh:
            make_host_keys(fresh)
            write_text(fresh / _DUE, due_at.replace(microsecond=0).isoformat() + "\n")
    made = pending_rotation(keys_dir)
    assert made is not None
    return made


def cancel_rotation(keys_dir: Path) -> None:
    """Forget the next keys. Raises Refused if no rotation is under way."""
    directory = keys_dir / "host"
    with locked(directory):
        if not (directory / "next").is_dir():
            raise Refused("no rotation is under way")
        remove_directory(directory / "next")


def finish_rotation(keys_dir: Path, now: datetime | None = None) -> bool:
    """Let the next keys take over, if there are some and their time (with ``now``) has come; True if they did."""
    directory = keys_dir / "host"
    if not (directory / "next").is_dir():
        return False
    with locked(directory):
        known = pending_rotation(keys_dir)  # another process may have been quicker
        if known is None or (now is not None and now < known.due_at):
            return False
        make_host_keys(directory / "next")  # refuses what cannot be used, before anything is replaced
        _keep_previous(directory)
        for kind in KINDS:
            _take_over(directory / "next" / file_name(kind), directory / file_name(kind))
        remove_directory(directory / "next")
    return True


def _keep_previous(directory: Path) -> None:
    """Copy the keys in use to ``previous``; after a crash of an earlier end, those that are still in use."""
    previous = directory / "previous"
    half_done = any(_same(directory / "next" / file_name(kind), directory / file_name(kind)) for kind in KINDS)
    if not half_done and previous.is_dir():
        shutil.rmtree(previous)
    make_directory(previous)
    for kind in KINDS:
        path = directory / file_name(kind)
        if path.exists() and not _same(directory / "next" / file_name(kind), path):
            write_text(previous / path.name, _text(path))


def _take_over(new: Path, place: Path) -> None:
    public_file(place).unlink(missing_ok=True)  # first: a public half that does not belong to its key is an error
    write_text(place, _text(new))
    write_text(public_file(place), _text(public_file(new)), mode=PUBLIC_MODE)


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and _text(one) == _text(other)


def _text(path: Path) -> str:
    text = read_text(path)
    if text is None:
        raise HostKeyError(f"{path} is missing")
    return text
