"""Whether a closed upload is complete: the rules of ``policy.evidence``, on what upload, disk and ledger say (promise P1).

Blocks, and reads a bounded part of the file; is called in the thread that publishes. A layer that cannot be asked (a disk that
does not read, a ledger that does not answer, content that breaks a parser) says nothing: no failure of it fails the CLOSE.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from sftpgate.errors import SftpgateError
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import get_logger
from sftpgate.policy import evidence, formats, texts
from sftpgate.policy.clients import Family, family_of
from sftpgate.policy.evidence import SENT_TWICE, Grade, GradedEvidence, Signs, WriteTrace
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location
from sftpgate.policy.texts import TextEnd
from sftpgate.uploads.upload import Upload

log = get_logger("judging")

EARLIER_FILES = 3  # of a path, that tell how its sender ends a file

T = TypeVar("T")


class Judge:
    """Judges closed uploads."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def verdict(self, upload: Upload, sha256: str) -> GradedEvidence:
        """Return the verdict on an upload without gaps, whose content has this hash. Raises nothing that the content could
        cause.
        """
        found = self._first_verdict(upload)
        if found.grade is Grade.SUSPECT and upload.progress.is_all_new and upload.size and self._sent_before(upload, sha256):
            return SENT_TWICE
        return found

    def _first_verdict(self, upload: Upload) -> GradedEvidence:
        """Return the same, as far as this upload alone tells."""
        trace = upload.progress.write_trace
        family = family_of(upload.sender.client, asked_limits=upload.identity.trace.asked_limits)
        if (said := evidence.said(trace, family)) is not None:
            return said
        finding = _asked(upload, partial(formats.examine, upload.size, _reader(upload)), formats.NOTHING)
        if finding is formats.NOTHING and (broken := _asked(upload, partial(texts.breaks_off, upload.size, _reader(upload)), "")):
            finding = formats.FormatFinding(formats.Wholeness.CUT, broken)
        signs = evidence.NO_SIGNS
        if evidence.needs_ending(trace, family, finding):
            ending = _asked(upload, partial(texts.ending, upload.size, _reader(upload)), TextEnd.NO_TEXT)
            signs = evidence.Signs(ending=ending)
        found = evidence.judged(trace, family, finding, signs)
        if found.grade is Grade.SUSPECT and finding.wholeness is formats.Wholeness.OPEN and trace.writes:
            found = evidence.judged(trace, family, finding, self._closer(upload, trace, family, signs))
        return found

    def _closer(self, upload: Upload, trace: WriteTrace, family: Family, signs: Signs) -> Signs:
        """Return ``signs`` with those of closer looks, which a doubt is worth."""
        block = evidence.block_of(trace, family)

        def tells(look: Callable[[int, int, formats.Read], bool]) -> bool:
            return _asked(upload, partial(look, upload.size, block, _reader(upload)), False)

        return replace(
            signs,
            ended_before=self._ended_before(upload) if signs.ending in (TextEnd.INSIDE_LINE, TextEnd.RAGGED) else None,
            on_purpose=evidence.has_round_size(trace) and tells(texts.ends_on_purpose),
            pieces_are_lines=signs.ending is TextEnd.LINE and tells(texts.blocks_end_lines),
            is_usual=self._has_usual_size(upload, ends_line=tells(texts.ends_line_by_choice)),
        )

    # -- the history -------------------------------------------------------------------------------------------------

    def _sent_before(self, upload: Upload, sha256: str) -> bool:
        with suppress(SftpgateError), self._resources.ledger.reading() as connection:
            return arrivals.sent_before(connection, upload.path, owner=upload.sender.user, size=upload.size, sha256=sha256)
        return False

    def _ended_before(self, upload: Upload) -> bool | None:
        """Whether the sender's last files of this path ended with a line end; None if there are none, or some did and some
        did not.
        """
        ends = {end for item in self._earlier(upload, EARLIER_FILES) if (end := self._line_ends(item)) is not None}
        return ends.pop() if len(ends) == 1 else None

    def _has_usual_size(self, upload: Upload, *, ends_line: bool) -> bool:
        """Return whether the upload has the size of the sender's last files of this path that were not doubted."""
        good = [item for item in self._earlier(upload, 2 * EARLIER_FILES) if item.grade is not Grade.SUSPECT]
        sizes = [(item.size, item.sha256) for item in good[:EARLIER_FILES]]
        return evidence.has_usual_size(upload.size, sizes, ends_line=ends_line)

    def _earlier(self, upload: Upload, limit: int) -> list[Arrival]:
        """Return the sender's last files of this path, the newest first; none if the ledger does not answer."""
        with suppress(SftpgateError), self._resources.ledger.reading() as connection:
            return arrivals.last_of(connection, upload.path, upload.sender.user, limit=limit)
        return []

    def _line_ends(self, item: Arrival) -> bool | None:
        where = item.location if item.archived_as is None else location(Area.ARCHIVES, item.archived_as)
        if where is None:
            return None
        with suppress(SftpgateError, OSError):
            fd = self._resources.disk.open_read(self._resources.layout.disk_path(where))
            try:
                return texts.last_line_ends(os.fstat(fd).st_size, partial(_read, fd))
            finally:
                os.close(fd)
        return None


def _reader(upload: Upload) -> formats.Read:
    return partial(_read, upload.fd)


def _read(fd: int, offset: int, length: int) -> bytes:
    return os.pread(fd, length, offset)


def _asked(upload: Upload, ask: Callable[[], T], silent: T) -> T:
    """Return what a look at the content finds; ``silent`` if it fails."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - whatever somebody's file does to a parser, it is their file
        log.warning("evidence.failed", path=upload.path, reason=repr(error))
        return silent
