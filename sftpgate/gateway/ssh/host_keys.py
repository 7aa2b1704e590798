"""The host keys as asyncssh takes them: those in use are shown, the next ones of a rotation are announced.

Loaded once and again when their files change: asyncssh would read them, and check the RSA key, for each connection. Each
algorithm has a key pair object of its own, because asyncssh notes in the pair which algorithm a client chose, and
connections share them. All functions block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncssh

from sftpgate.errors import HostKeyError, UserFileError
from sftpgate.users.files import Signature, read_bytes, signature
from sftpgate.users.host_keys.files import ensure_host_keys
from sftpgate.users.host_keys.rotation import next_files


class HostKeys:
    """The host keys of one keys directory. ``allowed``: the algorithms that the profile offers."""

    def __init__(self, keys_dir: Path, allowed: Sequence[str]) -> None:
        self._keys_dir = keys_dir
        self._allowed = [name.encode() for name in allowed]
        self._seen: list[tuple[Path, Signature | None]] = []

    def load(self) -> list[asyncssh.SSHKeyPair]:
        """Return the pairs, those in use first; missing keys are made. Raises HostKeyError."""
        self._seen = self._files()
        current = ensure_host_keys(self._keys_dir)
        if not self._seen:  # they were made just now
            self._seen = self._files()
        return [pair for path in [*current, *next_files(self._keys_dir)] for pair in self._pairs(path)]

    def changed(self) -> bool:
        """Return whether the files are others than those of the last ``load``."""
        return self._files() != self._seen

    def _files(self) -> list[tuple[Path, Signature | None]]:
        directory = self._keys_dir / "host"
        paths = [*directory.glob("ssh_host_*_key"), *next_files(self._keys_dir)]
        return [(path, signature(path)) for path in sorted(paths)]

    def _pairs(self, path: Path) -> Iterator[asyncssh.SSHKeyPair]:
        key = asyncssh.import_private_key(_read(path))
        [sample] = asyncssh.load_keypairs([key])
        for name in sample.host_key_algorithms:
            if name in self._allowed:
                [pair] = asyncssh.load_keypairs([key])
                pair.host_key_algorithms = [name]
                pair.set_sig_algorithm(name)
                yield pair


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path) or b""
    except UserFileError as error:
        raise HostKeyError(error.message) from error
