"""The shortest way to know that ``sftpgate run`` has nothing to do: cron asks once a minute, and mostly that is the answer.

Settings are read with pydantic, the ledger with SQLAlchemy, commands with Typer: importing them costs half a second of a
processor. So a pass that found nothing leaves a memo of what it looked at, in ``.sftpgate/idle``, under a digest of all that it
came from: the settings file, the environment, the directory, this program. If the digest is the same, the next pass looks at
the same places with what the standard library has. It says "nothing" only if no arrival waits for its tools, none is claimed,
and no file of theirs lies in the store; in all other cases, and if anything is odd, the pass goes the long way.

Losing the memo, or a crash while it is written, costs that half second once.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tomllib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftpgate.hidden_names import MANAGED_NAME
from sftpgate.ledger.database.idle_query import IdleQueryFailed, waiting_paths
from sftpgate.policy.pointers import Pointer, is_pattern, matches, paths_that_fit, tool_for
from sftpgate.regular_files import read_regular

if TYPE_CHECKING:
    from sftpgate.site import Site

_MEMO = f"{MANAGED_NAME}/idle"
_PREFIX, _CONFIG, _DEFAULT_CONFIG = (
    "SFTPGATE_",
    "SFTPGATE_CONFIG",
    "sftpgate.toml",
)  # as in settings.reading, which costs too much
_MOST_BYTES = 4 * 1024 * 1024  # of the settings, as in settings/reading.py; a memo has some of what they have
_QUIET_OPTIONS = {"--all", "--verbose", "-v"}  # those that change nothing if there is nothing to do


def is_answer(arguments: Sequence[str]) -> bool:
    """Return whether it is certain that ``run`` with these arguments finds nothing to do."""
    tools = [argument for argument in arguments if argument not in _QUIET_OPTIONS]
    if any(tool.startswith("-") for tool in tools) or ("--all" in arguments) == bool(tools):
        return False
    try:
        return _nothing_waits(tools)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, IdleQueryFailed):
        return False


def remember(site: Site) -> None:
    """Leave a memo for the next pass. Called if a pass with these settings found nothing to do."""
    from sftpgate.errors import SftpgateError
    from sftpgate.settings.choices import Order
    from sftpgate.store.disk_paths import DiskPath

    if site.ledger.file is None:
        return
    memo = {
        "digest": _digest(_config(), _text(_config())),
        "store": str(site.settings.store),
        "database": str(site.ledger.file.absolute()),
        "tools": [
            {"tool": name, "files": list(tool.files), "queued": tool.arrivals is Order.QUEUE, "enabled": tool.enabled}
            for name, tool in site.settings.tools.items()
        ],
    }
    content = json.dumps(memo).encode()
    disk_path = DiskPath(site.settings.store, _MEMO)
    try:
        if not site.disk.exists(disk_path) or site.disk.read_small(disk_path) != content:
            site.disk.write_small(disk_path, content)
    except SftpgateError:
        return  # the next pass takes its half second


def _nothing_waits(tools: Sequence[str]) -> bool:
    path = _config()
    text = _text(path)
    store = _store(path, tomllib.loads(text.decode()))
    memo: dict[str, Any] = json.loads(read_regular(store / _MEMO, _MOST_BYTES))
    if memo["digest"] != _digest(path, text) or memo["store"] != str(store):
        return False
    enabled = [tool["tool"] for tool in memo["tools"] if tool["enabled"]]
    if not set(tools) <= set(enabled):
        return False
    chosen = set(tools or enabled)
    pointers = [Pointer(tool=tool["tool"], files=tuple(tool["files"]), queued=tool["queued"]) for tool in memo["tools"]]
    files = [file for pointer in pointers if pointer.tool in chosen for file in pointer.files]
    waiting = waiting_paths(Path(memo["database"]), files)
    if waiting is None or any(tool_for(each, pointers) in chosen for each in waiting):
        return False
    return not any(True for file in files for _ in paths_that_fit(file, partial(_names_in, store)))


def _names_in(store: Path, directory: str, part: str, is_last: bool) -> Iterator[str]:
    """Yield the names of regular files, or of directories, that a part of a pattern fits."""
    wanted = stat.S_ISREG if is_last else stat.S_ISDIR
    where = store / directory
    try:
        for path in list(where.iterdir()) if is_pattern(part) else [where / part]:
            if matches(part, path.name) and wanted(path.lstat().st_mode):
                yield path.name
    except (FileNotFoundError, NotADirectoryError):
        return


def _config() -> Path:
    return Path(os.environ.get(_CONFIG) or _DEFAULT_CONFIG).absolute()


def _text(path: Path) -> bytes:
    return read_regular(path, _MOST_BYTES) if path.exists() else b""


def _store(path: Path, values: dict[str, Any]) -> Path:
    """Return where the store is, if the memo says so too."""
    for name, below in (("store_dir", ""), ("data_dir", "store")):
        if given := os.environ.get(_PREFIX + name.upper()):
            return Path.cwd() / given / below
        if given := values.get(name):
            return path.parent / str(given) / below
    return path.parent / "data" / "store"


def _digest(path: Path, text: bytes) -> str:
    """Return what the memo depends on. An environment variable in another letter case counts, as it does for the settings."""
    ours = sorted(item for item in os.environ.items() if item[0].upper().startswith(_PREFIX))
    program = Path(__file__).stat()
    facts = [str(path), str(Path.cwd()), ours, __file__, program.st_mtime_ns, program.st_ino]
    return hashlib.sha256(json.dumps(facts).encode() + text).hexdigest()
