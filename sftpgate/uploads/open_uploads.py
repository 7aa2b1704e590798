"""The uploads that are open in this process. A cache of nothing: when the process dies they are gone, and their staging
files and notes stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from sftpgate.errors import SftpgateError
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import UploadState
from sftpgate.uploads.staging import Staging
from sftpgate.uploads.upload import Upload

log = get_logger("uploads")

# An upload gets its note when it has grown past this; smaller ones get it from the regular round (``note_lingering``), so
# that small files, which are over at once, never pay for one.
NOTE_AT_BYTES = 1024 * 1024


class OpenUploads:
    """All open uploads of this process, by user. Used on the event loop; ``note_lingering`` runs in a thread on a snapshot."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._by_user: dict[str, list[Upload]] = {}
        self.empty = asyncio.Event()  # set while no upload is open
        self.empty.set()

    def add(self, upload: Upload) -> None:
        """Take in an upload that was opened."""
        self._by_user.setdefault(upload.sender.user, []).append(upload)
        self.empty.clear()

    def remove(self, upload: Upload) -> None:
        """Let go of an upload that came to its end."""
        uploads = self._by_user[upload.sender.user]
        uploads.remove(upload)
        if not uploads:
            del self._by_user[upload.sender.user]
        if not self._by_user:
            self.empty.set()

    def of_user(self, user: str) -> list[Upload]:
        """Return the open uploads of ``user`` that it did not remove, oldest first."""
        return [upload for upload in self._by_user.get(user, ()) if upload.state is not UploadState.DISCARDED]

    def supersede(self, upload: Upload) -> None:
        """``upload`` was published: those of its path that were opened before it must not come back as interrupted."""
        for other in self._by_user.get(upload.sender.user, ()):
            if other.path == upload.path and other.id < upload.id:
                other.fate.supersede()

    def __iter__(self) -> Iterator[Upload]:
        for uploads in self._by_user.values():
            yield from uploads

    def __len__(self) -> int:
        return sum(len(uploads) for uploads in self._by_user.values())

    @staticmethod
    def needs_note(upload: Upload) -> bool:
        """Tell whether an upload has grown so much, or got such gaps, or such a share of its file, that its note must be written
        now. A look at a few numbers.
        """
        return (upload.size >= NOTE_AT_BYTES and not upload.is_noted) or upload.has_unnoted_gap or upload.has_unnoted_share

    def note_lingering(self, uploads: list[Upload]) -> None:
        """Write the notes of uploads that are open for a while, so that a kill of the server leaves something to resume.
        Blocks.
        """
        for upload in uploads:
            if self.needs_note(upload) or (not upload.is_noted and upload.size):
                try:
                    self._staging.note(upload)
                except SftpgateError as error:
                    log.warning("upload.note_failed", path=upload.path, reason=error.message)
