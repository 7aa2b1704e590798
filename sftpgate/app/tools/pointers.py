"""What the tools are pointed at, as sftpgate.toml says at this moment.

``sftpgate tool point`` and an editor change it while the server runs, and the server decides by it which names queue. Costs one
``stat`` a question. A file that cannot be used is said once, and what held before goes on to hold.
"""

from __future__ import annotations

import os
from pathlib import Path

from sftpgate.app.composition import name_rules, pointers_of
from sftpgate.errors import SettingsError
from sftpgate.logs import get_logger
from sftpgate.policy.pointers import Pointer
from sftpgate.policy.tools import check_tools
from sftpgate.settings import reading
from sftpgate.settings.tree import Settings

log = get_logger("settings")

Seen = tuple[int, int, int]


class LivePointers:
    """Asked each time; any thread may ask."""

    def __init__(self, settings: Settings) -> None:
        path = reading.config_path(os.environ)
        self._path = path.absolute() if path else None
        self._known = self._look(), pointers_of(settings)

    def __call__(self) -> tuple[Pointer, ...]:
        """Return what holds now."""
        seen, pointers = self._known
        now = self._look()
        if now == seen or now is None or self._path is None:
            return pointers
        self._known = now, self._read(self._path, pointers)
        return self._known[1]

    def _look(self) -> Seen | None:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None  # somebody replaces it at this moment
        return found and (found.st_mtime_ns, found.st_size, found.st_ino)

    def _read(self, path: Path, before: tuple[Pointer, ...]) -> tuple[Pointer, ...]:
        try:
            settings = reading.of_text(reading.read_text(path), path)
            check_tools(settings.tools, name_rules(settings))
        except SettingsError as error:
            log.error("settings.not_usable", reason=error.message)
            return before
        pointers = pointers_of(settings)
        if pointers != before:
            log.info("tools.pointed", tools={pointer.tool: list(pointer.files) for pointer in pointers})
        return pointers
