"""Files that a backup brought back: one that was processed before must not run again (promise P4).

Such a file has the path, the size, the time and the content of one that came to its end. The content is read only where the
rest agrees, so that the usual file costs one look into the ledger. Blocks.
"""

from __future__ import annotations

import os

from sftpgate.errors import SftpgateError
from sftpgate.intake.digest import sha256_of
from sftpgate.intake.moves import Moves
from sftpgate.ledger import arrivals
from sftpgate.ledger.database import Connection
from sftpgate.policy.locations import Location


def was_processed(moves: Moves, connection: Connection, path: str, where: Location) -> bool:
    """Whether this very file, which lies at ``where``, came to its end under ``path`` before."""
    spot = moves.layout.spot(where)
    found = moves.disk.lstat(spot)
    if found is None:
        return False
    digests = arrivals.ended_alike(connection, path, found.st_size, found.st_mtime_ns)
    if not digests:
        return False
    try:
        fd = moves.disk.open_read(spot)
    except SftpgateError:
        return False  # it is gone, or no file that anybody could take
    try:
        return sha256_of(fd) in digests
    finally:
        os.close(fd)
