"""May an upload be published while other handles of its sender have the same path open? (promise P1)

Pure. Some programs send one file in chunks over several handles at a time: each opens the name without truncation and writes its
own range. None of these handles has the whole file, and that of the first range looks whole when it is closed. Others open
the name again to go on with an upload whose connection died. Two whole uploads of one path at a time (each with truncation,
or written from its beginning to its end) are no business of this rule: the last one to close has the name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Share(StrEnum):
    """What one handle has of the file, by what it has done so far."""

    WHOLE = "whole"  # opened with truncation or to append, or written from the beginning or the end on
    SILENT = "silent"  # opened without truncation, and nothing was written
    GOES_ON = "goes on"  # with what another open handle had written
    PART = "part"  # opened without truncation, and it has written somewhere in the middle, or behind a gap


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """An upload of a path. Ids sort in the order of their OPEN; ``ended`` is one that was made at its end, empty while it is
    open. ``goes_on_with`` is the upload that it goes on with.
    """

    id: str
    share: Share
    truncated: bool = False
    goes_on_with: str = ""
    ended: str = ""


def is_in_the_way(closing: Handle, other: Handle) -> bool:
    """Return whether ``closing`` must not be published because of ``other``, which is open, or was at the same time."""
    if other.id == closing.id or (other.ended and other.ended < closing.id):
        return False
    if closing.truncated and other.id < closing.id:
        return False  # it begins anew, whatever an earlier attempt has left
    if other.share is Share.PART or (closing.share is Share.PART and not other.truncated):
        return True
    if other.ended or other.id < closing.id:
        return False
    return other.share is Share.SILENT or (other.share is Share.GOES_ON and other.goes_on_with == closing.id)
