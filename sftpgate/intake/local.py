"""Files that local programs put into drop and store: reading one before it is taken, and knowing one again.

A file with other names (hard links) is none that can be taken: whoever has another name could change it afterwards. A file
that a backup brought back was processed before and must not run again (promise P4): it has the path, the size, the time
and the content of one that came to its end. Everything blocks; nothing here changes a file or a record.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator

from sftpgate.errors import LinkedFile, SftpgateError
from sftpgate.intake.digest import sha256_of
from sftpgate.intake.moves import Moves
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.locations import Location
from sftpgate.store.descriptors import has_writer


@contextlib.contextmanager
def opened(moves: Moves, where: Location) -> Iterator[int]:
    """A descriptor of the file at ``where``, closed at the end of the block. Raises LinkedFile where it has other names."""
    fd = moves.disk.open_read(moves.layout.spot(where))
    try:
        if moves.disk.has_other_names(os.fstat(fd)):
            raise LinkedFile()
        yield fd
    finally:
        os.close(fd)


def digest_and_flush(moves: Moves, fd: int, *, flush: bool = True) -> str:
    """The SHA-256 of an open file, whose content is durable then; ``flush``: not where the caller sees to that."""
    sha256 = sha256_of(fd)
    if flush and moves.durable:
        moves.disk.sync(fd)
    return sha256


def is_unchanged(moves: Moves, draft: Arrival, where: Location) -> bool:
    """Whether the file at ``where`` still is what ``draft`` says, and nobody has it open for writing (promise P1).

    Asked in the change that takes it: reading a large file takes its time, and its owner may begin to write it anew meanwhile.
    """
    try:
        with opened(moves, where) as fd:
            found = os.fstat(fd)
            is_same = (found.st_ino, found.st_size, found.st_mtime_ns) == (draft.inode, draft.size, draft.mtime_ns)
            return is_same and not has_writer(fd)
    except SftpgateError:
        return False


def is_one_of(moves: Moves, where: Location, digests: Collection[str]) -> bool:
    """Whether the content of the file at ``where`` has one of these digests; False where it cannot be taken."""
    try:
        with opened(moves, where) as fd:
            return sha256_of(fd) in digests
    except SftpgateError:
        return False
