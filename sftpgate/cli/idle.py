"""The shortest way to know that ``sftpgate run`` has nothing to do: cron asks once a minute, and mostly that is the answer.

Settings are read with pydantic, the ledger with SQLAlchemy, commands with Typer: importing them costs half a second of a
processor. So a pass that found nothing leaves a memo of what it looked at, in ``.sftpgate/idle``, under a digest of all that it
came from: the settings file, the environment, the directory, this program. Where the digest is the same, the next pass looks at
the same places with what the standard library has. It says "nothing" only where no arrival waits for its tools, none is claimed,
and no file of theirs lies in the store; in all other cases, and where anything is odd, the pass goes the long way.

Losing the memo, or a crash while it is written, costs that half second once.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftpgate.ledger.glance import GlanceFailed, waiting_paths
from sftpgate.policy.names import MANAGED_NAME
from sftpgate.policy.tools import Pointer, is_pattern, matches, tool_for

if TYPE_CHECKING:
    from sftpgate.cli.compose import System

_MEMO = f"{MANAGED_NAME}/idle"
_PREFIX, _CONFIG, _DEFAULT_CONFIG = "SFTPGATE_", "SFTPGATE_CONFIG", "sftpgate.toml"  # as in settings.py, which costs too much
_QUIET_OPTIONS = {"--all", "--verbose", "-v"}  # those that change nothing where there is nothing to do


def is_answer(arguments: Sequence[str]) -> bool:
    """Whether it is certain that ``run`` with these arguments finds nothing to do."""
    tools = [argument for argument in arguments if argument not in _QUIET_OPTIONS]
    if any(tool.startswith("-") for tool in tools) or ("--all" in arguments) == bool(tools):
        return False
    try:
        return _nothing_waits(tools)
    except (OSError, ValueError, KeyError, TypeError, GlanceFailed):
        return False


def remember(system: System) -> None:
    """Leave a memo for the next pass. Called where a pass with these settings found nothing to do."""
    from sftpgate.errors import SftpgateError
    from sftpgate.settings import Order
    from sftpgate.store.spots import Spot

    if system.ledger.file is None:
        return
    memo = {
        "digest": _digest(_config(), _text(_config())),
        "store": str(system.settings.store),
        "database": str(system.ledger.file.absolute()),
        "tools": [
            {"tool": name, "files": list(tool.files), "queued": tool.arrivals is Order.QUEUE, "enabled": tool.enabled}
            for name, tool in system.settings.tools.items()
        ],
    }
    content = json.dumps(memo).encode()
    spot = Spot(system.settings.store, _MEMO)
    try:
        if not system.disk.exists(spot) or system.disk.read_small(spot) != content:
            system.disk.write_small(spot, content)
    except SftpgateError:
        return  # the next pass takes its half second


def _nothing_waits(tools: Sequence[str]) -> bool:
    path = _config()
    text = _text(path)
    store = _store(path, tomllib.loads(text.decode()))
    memo: dict[str, Any] = json.loads((store / _MEMO).read_bytes())
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
    return not any(True for file in files for _ in _files(store, file.split("/")))


def _files(directory: Path, parts: list[str]) -> Iterator[Path]:
    """The regular files that a name or pattern fits."""
    first, *rest = parts
    try:
        for path in list(directory.iterdir()) if is_pattern(first) else [directory / first]:
            mode = path.lstat().st_mode if matches(first, path.name) else 0
            if rest and stat.S_ISDIR(mode):
                yield from _files(path, rest)
            elif not rest and stat.S_ISREG(mode):
                yield path
    except (FileNotFoundError, NotADirectoryError):
        return


def _config() -> Path:
    return Path(os.environ.get(_CONFIG) or _DEFAULT_CONFIG).absolute()


def _text(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _store(path: Path, values: dict[str, Any]) -> Path:
    """Where the store is, if the memo says so too."""
    for name, below in (("store_dir", ""), ("data_dir", "store")):
        if given := os.environ.get(_PREFIX + name.upper()):
            return Path.cwd() / given / below
        if given := values.get(name):
            return path.parent / str(given) / below
    return path.parent / "data" / "store"


def _digest(path: Path, text: bytes) -> str:
    """What the memo depends on. An environment variable in another letter case counts, as it does for the settings."""
    ours = sorted(item for item in os.environ.items() if item[0].upper().startswith(_PREFIX))
    program = Path(__file__).stat()
    facts = [str(path), str(Path.cwd()), ours, __file__, program.st_mtime_ns, program.st_ino]
    return hashlib.sha256(json.dumps(facts).encode() + text).hexdigest()
