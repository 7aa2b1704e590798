"""What a worker reaches on this machine, for the kernel to let it reach nothing else, and whether that is still all.

What is let is let to directories and files, not to their names. So if another directory takes the place of one of ours (a new
link ``keys``, a volume that is mounted later), or a link in the keys directory leads to something new, this process cannot
reach it, and only a new one can: ``Bounds.is_stale`` says so. Looks only; blocks for a look at each user's directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sftpgate.gateway.workers.sandbox import SCRATCH_VARIABLE, confine, directory_of
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.database.engines import client_files
from sftpgate.meter import DIRECTORY_VARIABLE
from sftpgate.settings.choices import Sandbox
from sftpgate.settings.reading import config_path
from sftpgate.settings.tree import Settings
from sftpgate.users.files import links_below, make_directory

_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxPaths:
    """What of its own a worker reads, and what it changes. Code and the system's files come on top."""

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]


def sandbox_paths(settings: Settings, environ: Mapping[str, str]) -> SandboxPaths:
    """Return what a worker with these settings reaches; nothing that lies in another directory of these.

    In the keys directory it changes the host keys only: who takes a worker over cannot make itself a user.
    """
    host_keys = settings.keys_dir / "host"
    readable, writable = [settings.keys_dir], [settings.data_dir, settings.store, settings.drop, host_keys]
    ledger = Ledger(settings.ledger)
    if ledger.file is not None:
        writable.append(ledger.file.resolve().parent)
    writable += [Path(environ[name]) for name in (DIRECTORY_VARIABLE, SCRATCH_VARIABLE) if environ.get(name)]
    if (config := config_path(environ)) is not None:
        looked_for = config.absolute().parent
        readable += [directory_of(config), *([looked_for] if looked_for.resolve() != Path("/") else [])]
    readable += client_files(ledger.url, environ)
    readable += [directory_of(path) for table in settings.expect.values() for path in table.calendars]
    for link in links_below(settings.keys_dir):
        (writable if link.is_relative_to(host_keys) else readable).append(link)
    writable = _outermost(writable, [])
    return SandboxPaths(readable=tuple(_outermost(readable, writable)), writable=tuple(writable))


def console_paths(settings: Settings, environ: Mapping[str, str]) -> SandboxPaths:
    """Return what the process of API and console reaches: what a worker reaches, but of the keys directory the users, which it
    changes, and nothing of the server's own keys.
    """
    worker = sandbox_paths(settings, environ)
    host_keys, users = settings.keys_dir / "host", settings.keys_dir / "users"
    of_keys = {path.resolve() for path in (settings.keys_dir, host_keys, *links_below(settings.keys_dir))}
    others = [path for path in settings.keys_dir.glob("*") if path.name not in (host_keys.name, users.name)]
    writable = [*(path for path in worker.writable if path.resolve() not in of_keys), users]
    writable = _outermost(writable, [])
    readable = [path for path in worker.readable if path.resolve() not in of_keys]
    return SandboxPaths(readable=tuple(_outermost([*readable, *others], writable)), writable=tuple(writable))


def _outermost(paths: list[Path], others: list[Path]) -> list[Path]:
    """Return ``paths``, without those that lie in another one of them, or in one of ``others``."""
    kept: dict[Path, Path] = {}
    covering = [other.resolve() for other in others]
    for real, path in sorted((path.resolve(), path) for path in paths):
        if real not in kept and not any(real.is_relative_to(above) for above in (*covering, *kept)):
            kept[real] = path
    return sorted(kept.values())


class Bounds:
    """The sandbox of this process. One per process."""

    def __init__(self, settings: Settings, paths: Callable[[Settings, Mapping[str, str]], SandboxPaths] = sandbox_paths) -> None:
        self._settings = settings
        self._paths = paths
        self._known: frozenset[_Identity] | None = None

    def set(self) -> None:
        """Confine this process, if the settings and the kernel want it. Raises as ``confine``."""
        if self._settings.sandbox is Sandbox.OFF:
            return
        for name in ("host", "users"):
            make_directory(self._settings.keys_dir / name)
        paths = self._paths(self._settings, os.environ)
        if confine(self._settings.sandbox, paths.readable, paths.writable):
            self._known = frozenset(_identities(paths))

    def is_stale(self) -> bool:
        """Return whether this process is confined, and what it should reach is not what it may reach."""
        return self._known is not None and not self._known.issuperset(_identities(self._paths(self._settings, os.environ)))


def _identities(paths: SandboxPaths) -> Iterator[_Identity]:
    """Yield what tells the directories and files that are there from others of the same names."""
    yield from _looked_at((*paths.readable, *paths.writable))


def _looked_at(paths: Iterable[Path]) -> Iterator[_Identity]:
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue  # not there, or just being replaced
        yield status.st_dev, status.st_ino
