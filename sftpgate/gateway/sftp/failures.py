"""What is said of a request that failed: what it asked for and of which path, so that "which file failed?" has an answer (P8).

A request is read a second time here, and only if it failed: what succeeds pays nothing for it. Pure but for the look at
the session's handles.
"""

from __future__ import annotations

import re
import struct

from asyncssh.packet import PacketDecodeError, SSHPacket

from sftpgate.errors import SftpgateError
from sftpgate.gateway.sftp import wire
from sftpgate.gateway.sftp.handles import Handles
from sftpgate.gateway.sftp.view import View
from sftpgate.gateway.sftp.wire import Open, Request

_BY_PATH = frozenset(
    {
        Request.OPEN,
        Request.LSTAT,
        Request.STAT,
        Request.SETSTAT,
        Request.OPENDIR,
        Request.REMOVE,
        Request.MKDIR,
        Request.RMDIR,
        Request.REALPATH,
        Request.READLINK,
    }
)
_BY_TWO_PATHS = frozenset({Request.RENAME, Request.SYMLINK, Request.LINK})
_BY_HANDLE = frozenset({Request.CLOSE, Request.READ, Request.WRITE, Request.FSTAT, Request.FSETSTAT, Request.READDIR})

# Of the extensions that are known: which paths and handles they begin with.
_EXTENSIONS: dict[bytes, tuple[int, bool]] = {
    b"posix-rename@openssh.com": (2, False),
    b"hardlink@openssh.com": (2, False),
    b"lsetstat@openssh.com": (1, False),
    b"statvfs@openssh.com": (1, False),
    b"fsync@openssh.com": (0, True),
    b"fstatvfs@openssh.com": (0, True),
}
_NAMES = {kind.value: kind.name.lower() for kind in Request}
_HANDING_OVER = frozenset({"open for writing", "write", "close", "fsetstat", "rename", "posix-rename", "copy-data"})
_RULE = re.compile(r"\(rule: ([^()]+)\)")


def facts_of(request: bytes, handles: Handles, view: View, sftp_version: int) -> dict[str, str]:
    """Return what a request was: ``request``, and ``path`` and ``to`` as the client sees them, as far as it can be read."""
    facts: dict[str, str] = {}
    try:
        packet = wire.body_of(request)
        kind = packet.get_byte()
        packet.get_uint32()
        _describe(kind, packet, facts, handles, view, sftp_version)
    except (PacketDecodeError, struct.error, IndexError):
        pass  # it is not well formed: what was read of it stands
    return facts


def _describe(kind: int, packet: SSHPacket, facts: dict[str, str], handles: Handles, view: View, version: int) -> None:
    facts["request"] = _NAMES.get(kind, str(kind))
    paths, by_handle = int(kind in _BY_PATH) + 2 * (kind in _BY_TWO_PATHS), kind in _BY_HANDLE
    if kind == Request.EXTENDED:
        name = packet.get_string()
        facts["request"] = name.decode("utf-8", "backslashreplace").partition("@")[0]
        paths, by_handle = _EXTENSIONS.get(name, (0, False))
        if name == b"copy-data":
            packet.get_string(), packet.get_uint64(), packet.get_uint64()
            by_handle = True  # where it is copied to
    for field in ("path", "to")[:paths]:
        facts[field] = _shown(packet.get_string(), view)
    if by_handle and (path := handles.path_of(packet.get_string())):
        facts["path"] = path
    if kind == Request.OPEN and _writes(packet, version):
        facts["request"] = "open for writing"


def _writes(packet: SSHPacket, version: int) -> bool:
    if version >= 5:
        return bool(wire.open_flags_of_v5(packet.get_uint32(), packet.get_uint32()) & (Open.WRITE | Open.APPEND))
    return bool(packet.get_uint32() & (Open.WRITE | Open.APPEND))


def hands_over(facts: dict[str, str]) -> bool:
    """Return whether a request was a part of handing a file over: whatever it fails for, somebody may ask for the file."""
    return facts.get("request") in _HANDING_OVER


def rule_of(error: SftpgateError) -> str | None:
    """Return the rule that an error's sentence names, or None."""
    found = _RULE.search(error.message)
    return found[1] if found else None


def _shown(path: bytes, view: View) -> str:
    try:
        return view.normalise(path)
    except SftpgateError:
        return path.decode("utf-8", "backslashreplace")
