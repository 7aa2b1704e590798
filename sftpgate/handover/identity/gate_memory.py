"""The identity of the gate, remembered beside its keys, on another filesystem perhaps than its data.

If store, drop and ledger lie on one filesystem that is not mounted, all three are missing, as they are before a gate's
first start. The keys tell these apart: a gate that has been here has left its identity in ``keys/host/identity``. A hint and no
authority: if it cannot be read or written (keys that a configuration manager owns), a gate works as if there were none.

Written after each of the three has the identity, so that a crash leaves at most a gate that is not remembered; the next start
does that. Blocks.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from sftpgate.errors import SftpgateError
from sftpgate.logs import get_logger
from sftpgate.users.files import make_directory, read_text, write_text

log = get_logger("store")

_MODE = 0o644
_MOST_BYTES = 1024


def memory_file(keys_dir: Path) -> Path:
    """Return where the identity is remembered."""
    return keys_dir / "host" / "identity"


def remembered(keys_dir: Path) -> str | None:
    """Return the identity of the gate that these keys belong to; None if there is none, or if it cannot be read."""
    try:
        text = read_text(memory_file(keys_dir), _MOST_BYTES)
    except SftpgateError:
        return None
    return (text or "").strip() or None


def remember(keys_dir: Path, identity: str, *, replacing: bool = False) -> None:
    """Leave the identity beside the host keys, if there are keys and none is remembered; ``replacing``: also another one's
    place.
    """
    known = remembered(keys_dir)
    if known == identity or not keys_dir.is_dir():
        return
    file = memory_file(keys_dir)
    if known is not None and not replacing:
        log.warning("store.of_another_gate", gate=identity, remembered=known, file=str(file))
        return
    with contextlib.suppress(SftpgateError, OSError):
        make_directory(file.parent)
        write_text(file, identity + "\n", mode=_MODE, most_bytes=_MOST_BYTES)
