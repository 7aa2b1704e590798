"""Every operation that names a path, so that a test can try all of them on one path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sftpgate.gateway.sftp.wire import Open, Request
from tests.harness.raw import CREATE, RESUME, Answer, Raw, string

Operation = Callable[[Raw, str | bytes], Awaitable[Answer]]

LOOKING: dict[str, Operation] = {
    "stat": lambda raw, path: raw.on(Request.STAT, path),
    "lstat": lambda raw, path: raw.on(Request.LSTAT, path),
    "opendir": lambda raw, path: raw.on(Request.OPENDIR, path),
    "open for reading": lambda raw, path: raw.try_open(path, Open.READ),
    "statvfs": lambda raw, path: raw.extended("statvfs@openssh.com", string(path)),
}

CHANGING: dict[str, Operation] = {
    "open for writing": lambda raw, path: raw.try_open(path, CREATE),
    "open to continue": lambda raw, path: raw.try_open(path, RESUME),
    "open to append": lambda raw, path: raw.try_open(path, RESUME | Open.APPEND),
    "open a new one": lambda raw, path: raw.try_open(path, CREATE | Open.EXCL),
    "setstat of times": lambda raw, path: raw.setstat(path, atime=1, mtime=1),
    "setstat of the mode": lambda raw, path: raw.setstat(path, permissions=0o777),
    "setstat of the size": lambda raw, path: raw.setstat(path, size=0),
    "lsetstat": lambda raw, path: raw.extended("lsetstat@openssh.com", string(path), raw.attributes(permissions=0o777)),
    "remove": lambda raw, path: raw.on(Request.REMOVE, path),
    "mkdir": lambda raw, path: raw.mkdir(path),
    "rmdir": lambda raw, path: raw.on(Request.RMDIR, path),
    "rename from": lambda raw, path: raw.rename(path, "moved.csv"),
    "rename to": lambda raw, path: raw.rename("own.csv", path),
    "posix-rename from": lambda raw, path: raw.posix_rename(path, "moved.csv"),
    "posix-rename to": lambda raw, path: raw.posix_rename("own.csv", path),
    "symlink": lambda raw, path: raw.request(Request.SYMLINK, string("own.csv"), string(path)),
    "symlink to": lambda raw, path: raw.request(Request.SYMLINK, string(path), string("link.csv")),
    "link": lambda raw, path: raw.request(Request.LINK, string(path), string("own.csv"), b"\0"),
    "hardlink": lambda raw, path: raw.extended("hardlink@openssh.com", string("own.csv"), string(path)),
    "hardlink to": lambda raw, path: raw.extended("hardlink@openssh.com", string(path), string("link.csv")),
    "readlink": lambda raw, path: raw.on(Request.READLINK, path),
}

MAKING = ("open for writing", "open to continue", "open to append", "open a new one", "mkdir", "rename to", "posix-rename to")
EVERY = LOOKING | CHANGING
