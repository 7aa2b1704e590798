"""The line of ``ls -l`` that SFTP version 3 sends with each name (filexfer-02 §7), always in the same columns, in UTC,
with the user and no local account.
"""

from __future__ import annotations

import stat
import time

from asyncssh import SFTPAttrs

_HALF_YEAR_SECONDS = 182 * 86400


def longname(name: str, attrs: SFTPAttrs, user: str) -> bytes:
    """Return the line for ``name``."""
    mtime = int(attrs.mtime or 0)
    when = time.gmtime(mtime)
    recent = abs(time.time() - mtime) < _HALF_YEAR_SECONDS
    date = time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", when)
    return f"{stat.filemode(attrs.permissions or 0)}    1 {user:<8} {user:<8} {attrs.size or 0:>10} {date} {name}".encode()
