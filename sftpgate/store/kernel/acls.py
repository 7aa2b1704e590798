"""The default ACL of a directory, for a file that is renamed into it: the kernel gives it only to a file that is made there.

So an account that an administrator lets read the store by an ACL can read what arrives. The ACL is narrowed by the file's mode
as the kernel does it (acl(5), "Object creation and default ACLs"). Blocks for a system call, and one more if there is such an
ACL. A filesystem without ACLs has none to give.
"""

from __future__ import annotations

import os
import struct

_DEFAULT, _ACCESS = "system.posix_acl_default", "system.posix_acl_access"
_HEADER = struct.Struct("<I")  # linux/posix_acl_xattr.h: a version, then tag, permissions and id of each entry
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20


def default_acl(directory: int) -> bytes | None:
    """Return the default ACL of an open directory, as the kernel writes it; None if it has none."""
    try:
        return os.getxattr(directory, _DEFAULT)
    except OSError:
        return None


def set_acl(file: int, acl: bytes) -> None:
    """Give an open file of ours an ACL. Raises OSError."""
    os.setxattr(file, _ACCESS, acl)


def narrowed(acl: bytes, mode: int) -> bytes:
    """Return the ACL of a new file with ``mode`` in a directory whose default ACL is ``acl``."""
    entries = [_ENTRY.unpack_from(acl, at) for at in range(_HEADER.size, len(acl) - _ENTRY.size + 1, _ENTRY.size)]
    has_mask = any(tag == _MASK for tag, _, _ in entries)
    allowed = {_USER_OBJ: mode >> 6 & 7, _MASK if has_mask else _GROUP_OBJ: mode >> 3 & 7, _OTHER: mode & 7}
    narrow = [_ENTRY.pack(tag, permissions & allowed.get(tag, 7), identity) for tag, permissions, identity in entries]
    return acl[: _HEADER.size] + b"".join(narrow)
