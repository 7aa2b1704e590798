"""Whether a closed upload is complete: the rules of ``policy.evidence``, on what upload, disk and ledger say (promise P1).

Blocks, and reads a bounded part of the file; is called in the thread that publishes. A layer that cannot be asked (a disk that
does not read, a ledger that does not answer, content that breaks a parser) says nothing: no failure of it fails the CLOSE.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sftpgate.errors import SftpgateError
from sftpgate.intake.moves import Moves
from sftpgate.intake.uploads import Upload
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import get_logger
from sftpgate.policy import evidence, formats, texts
from sftpgate.policy.clients import family_of
from sftpgate.policy.evidence import SENT_TWICE, Grade, Verdict
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location

log = get_logger("judging")

EARLIER_FILES = 3  # of a path, that tell how its sender ends a file

T = TypeVar("T")


class Judge:
    """Judges closed uploads."""

    def __init__(self, moves: Moves) -> None:
        self._moves = moves

    def verdict(self, upload: Upload, sha256: str) -> Verdict:
        """The verdict on an upload without gaps, whose content has this hash. Raises nothing that the content could cause."""
        found = self._first_verdict(upload)
        if found.grade is Grade.SUSPECT and upload.is_all_new and upload.size and self._sent_before(upload, sha256):
            return SENT_TWICE
        return found

    def _first_verdict(self, upload: Upload) -> Verdict:
        """The same, as far as this upload alone tells."""
        trace = upload.write_trace
        family = family_of(upload.sender.client, asked_limits=upload.trace.asked_limits)
        if (said := evidence.said(trace, family)) is not None:
            return said
        size, read = upload.size, partial(_read, upload.fd)
        finding = _asked(upload, partial(formats.examine, size, read), formats.NOTHING)
        if finding is formats.NOTHING and (broken := _asked(upload, partial(texts.breaks_off, size, read), "")):
            finding = formats.Finding(formats.Wholeness.CUT, broken)
        ending = None
        if evidence.needs_ending(trace, family, finding):
            ending = _asked(upload, partial(texts.ending, size, read), texts.Ending.NO_TEXT)
        block = evidence.may_end_on_purpose(trace, family)
        on_purpose = block > 0 and _asked(upload, partial(texts.ends_on_purpose, size, block, read), False)
        found = evidence.judged(trace, family, finding, ending=ending, on_purpose=on_purpose)
        if found.grade is Grade.SUSPECT and ending in (texts.Ending.INSIDE_LINE, texts.Ending.RAGGED):
            before = self._ended_before(upload)
            found = evidence.judged(trace, family, finding, ending=ending, ended_before=before)
        return found

    # -- the history -------------------------------------------------------------------------------------------------

    def _sent_before(self, upload: Upload, sha256: str) -> bool:
        with suppress(SftpgateError), self._moves.ledger.reading() as connection:
            return arrivals.sent_before(connection, upload.path, owner=upload.sender.user, size=upload.size, sha256=sha256)
        return False

    def _ended_before(self, upload: Upload) -> bool | None:
        """Whether the sender's last files of this path ended with a line end; None where there are none, or some did and some
        did not.
        """
        with suppress(SftpgateError), self._moves.ledger.reading() as connection:
            earlier = arrivals.find(
                connection, paths=[upload.path], owner=upload.sender.user, newest_first=True, limit=EARLIER_FILES
            )
            ends = {end for item in earlier if (end := self._line_ends(item)) is not None}
            return ends.pop() if len(ends) == 1 else None
        return None

    def _line_ends(self, item: Arrival) -> bool | None:
        where = item.location if item.archived_as is None else location(Area.ARCHIVES, item.archived_as)
        if where is None:
            return None
        with suppress(SftpgateError, OSError):
            fd = self._moves.disk.open_read(self._moves.layout.spot(where))
            try:
                return texts.last_line_ends(os.fstat(fd).st_size, partial(_read, fd))
            finally:
                os.close(fd)
        return None


def _read(fd: int, offset: int, length: int) -> bytes:
    return os.pread(fd, length, offset)


def _asked(upload: Upload, ask: Callable[[], T], silent: T) -> T:
    """What a look at the content finds; ``silent`` where it fails."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - whatever somebody's file does to a parser, it is their file
        log.warning("evidence.failed", path=upload.path, reason=repr(error))
        return silent
