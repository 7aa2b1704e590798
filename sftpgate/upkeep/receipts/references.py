"""The sender's own reference for a file: the first line of ``NAME.reference``, sent before the file.

It comes back in every receipt, so that a sender finds its own document by its own number. A file beside the file is what every
client can send (of extended attributes hardly one knows), and the name is the tool's. A reference is for one file: for the next
one of its name that its sender sends.
"""

from __future__ import annotations

from sftpgate.errors import SftpgateError
from sftpgate.hidden_names import REFERENCE_SUFFIX
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database.connection import Connection
from sftpgate.policy.lifecycle import Area, ArrivalState
from sftpgate.policy.locations import Location, area_of
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout

MOST_CHARACTERS = 200
_MOST_BYTES = 4 * MOST_CHARACTERS


class References:
    """Finds references in the drop. One instance per process; everything blocks."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk

    def of(self, connection: Connection, item: Arrival, path: str, *, since: int) -> str | None:
        """Return the reference for a file that has just come to ``path`` of the drop; None if there is none, or none that can be
        read. ``since``: the number of the arrival before it at that path, which had what came earlier; 0 if there is none.
        """
        lying = {ArrivalState.IGNORED}
        for found in arrivals.newest_of(connection, path + REFERENCE_SUFFIX, owner=item.owner, states=lying, limit=1):
            if since < found.seq < item.seq and found.location is not None and area_of(found.location) is Area.DROP:
                return self._first_line(found.location)
        return None

    def _first_line(self, where: Location) -> str | None:
        try:
            content = self._disk.read_small(self._layout.disk_path(where), _MOST_BYTES)
        except SftpgateError:
            return None  # it was removed, or replaced by the next one
        return first_line(content)


def first_line(content: bytes) -> str | None:
    """Return the reference that a file with this content gives: its first line, without blanks at the ends. None if that is
    empty, not UTF-8, not printable, or too long.
    """
    line = content.split(b"\n", 1)[0]
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return None
    return text if text and text.isprintable() and len(text) <= MOST_CHARACTERS else None
