"""What kept somebody out when it was last whole, beside the ledger: a server that starts while a file is gone or cut knows it.

One file for the list of revoked keys, and one for each user whose ``user.toml`` limits it, without the password's hash. They
are written when a whole version is read, without a flush: after a power cut one may be missing or empty, and then nothing is
known, as at the first start. Several processes write the same. Who removes a file here says that it keeps nobody out any more.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sftpgate.errors import SftpgateError
from sftpgate.users.files import make_directory, read_text, write_hint

ACCESS_MEMORY = "access"  # its directory in data_dir


class Memory:
    """The texts of one gate, in ``directory``, whose own directory must exist. With ``keeps`` false, it is only read."""

    def __init__(self, directory: Path | None = None, *, keeps: bool = True) -> None:
        self._directory = directory
        self._keeps = keeps
        self._known: dict[str, str | None] = {}

    def text(self, name: str, most_bytes: int) -> str | None:
        """Return what was kept of the file that is called ``name``; None if nothing is known."""
        if name not in self._known and self._directory is not None:
            with suppress(SftpgateError):
                self._known[name] = read_text(self._directory / name, most_bytes) or None
        return self._known.get(name)

    def keep(self, name: str, text: str | None) -> None:
        """Keep ``text``, or, if it is None, nothing."""
        if self._directory is None or not self._keeps or not self._directory.parent.is_dir():
            return
        if name in self._known and self._known[name] == text:
            return
        with suppress(SftpgateError, OSError):  # it is tried again at the next look
            path = self._directory / name
            if text is None:
                path.unlink(missing_ok=True)
            else:
                make_directory(path.parent)
                write_hint(path, text)
            self._known[name] = text
