"""Requests of version 3 of SFTP that a client can send about a small tree of files, each with the answers that it gets: the same
questions for OpenSSH's server and for ours.

Each question that may change something has a directory of its own, so that none sees what another one did: ``a.csv`` with eleven
bytes, ``b.csv``, the empty directory ``e``, and ``d`` with ``x.csv`` in it. Those that only look share one.
"""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from asyncssh import SFTPAttrs

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Reply, Request
from tests.harness.raw import Answer, Raw, string, uint32, uint64

R, W, A, C, T, X = Open.READ, Open.WRITE, Open.APPEND, Open.CREAT, Open.TRUNC, Open.EXCL
CONTENT = b"0123456789\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """One question on its way: the session, where its directory is, and what the server's top is called."""

    raw: Raw
    base: str
    top: str

    def path(self, name: str) -> str:
        """The path of a name in the question's directory; absolute names, and the empty one, are themselves."""
        return name if name.startswith("/") or not name else f"{self.base}/{name}"

    def said(self, answer: Answer) -> str:
        """What an answer says, without what must differ: texts, times, owners, where the server's top lies."""
        match answer.kind:
            case Reply.STATUS:
                return Status(answer.status).name
            case Reply.HANDLE:
                return "handle"
            case Reply.DATA:
                return f"{len(answer.data)} bytes"
            case Reply.ATTRS:
                return _kind_of(answer.attrs)
            case Reply.NAME:
                name = answer.names[0][0]
                below = name.removeprefix(self.top).removeprefix("/")
                return below.removeprefix(self.base).removeprefix("/") if name.startswith(self.top + "/") else "the top"
            case _:
                return "reply"

    async def prepare(self) -> None:
        """Make the tree."""
        for directory in ("", "e", "d"):
            assert (await self.raw.mkdir(self.path(directory) if directory else self.base)).status == Status.OK
        for name, content in (("a.csv", CONTENT), ("b.csv", b"b\n"), ("d/x.csv", b"x\n")):
            assert await self.raw.put(self.path(name), content) == Status.OK

    async def tree(self) -> str:
        """What is there afterwards."""
        found = []
        for name, _, attrs in sorted(await self.raw.rows(self.base)):
            if name not in (".", ".."):
                is_directory = stat.S_ISDIR(attrs.permissions or 0)
                inside = await self.raw.listing(self.path(name)) if is_directory else []
                found.append(f"{name}/{' '.join(sorted(inside))}" if is_directory else f"{name}:{attrs.size}")
        return ", ".join(found)


def _kind_of(attrs: SFTPAttrs) -> str:
    return "directory" if stat.S_ISDIR(attrs.permissions or 0) else f"file of {attrs.size}"


Question = Callable[[Asked], Awaitable[list[str]]]
QUESTIONS: dict[str, Question] = {}
_LOOKING = ("STAT", "LSTAT", "OPENDIR", "REALPATH", "statvfs", "OPEN READ of", "READ", "FSTAT", "fstatvfs", "READLINK", "limits")


def only_looks(name: str) -> bool:
    """Whether a question cannot change anything, whatever it is answered with."""
    return name.startswith(_LOOKING) and "writing" not in name


def _ask(name: str, question: Question) -> None:
    assert name not in QUESTIONS, name
    QUESTIONS[name] = question


async def _on(asked: Asked, kind: int, *names: str, rest: bytes = b"") -> list[str]:
    answer = await asked.raw.request(kind, *(string(asked.path(name)) for name in names), rest)
    if answer.kind == Reply.HANDLE:
        await asked.raw.close(answer.handle)
    return [asked.said(answer)]


async def _extended(asked: Asked, extension: str, *names: str, rest: bytes = b"") -> list[str]:
    answer = await asked.raw.extended(extension, *(string(asked.path(name)) for name in names), rest)
    return [asked.said(answer)]


async def _open(asked: Asked, name: str, flags: Open, *acts: str) -> list[str]:
    """OPEN, then what is done with the handle, then CLOSE."""
    answer = await asked.raw.try_open(asked.path(name), flags)
    if answer.kind != Reply.HANDLE:
        return [asked.said(answer)]
    done = [asked.said(await _HANDLE_ACTS[act](asked.raw, answer.handle)) for act in acts]
    return [asked.said(answer), *done, asked.said(await asked.raw.close(answer.handle))]


_HANDLE_ACTS: dict[str, Callable[[Raw, bytes], Awaitable[Answer]]] = {
    "READ": lambda raw, handle: raw.read(handle),
    "READ of 0": lambda raw, handle: raw.read(handle, 0, 0),
    "READ of 0 at the end": lambda raw, handle: raw.read(handle, 11, 0),
    "READ at the end": lambda raw, handle: raw.read(handle, 11),
    "READ behind the end": lambda raw, handle: raw.read(handle, 1000),
    "READ at 2^63": lambda raw, handle: raw.read(handle, 2**63),
    "READ of 2^32-1": lambda raw, handle: raw.read(handle, 0, 2**32 - 1),
    "WRITE": lambda raw, handle: raw.write(handle, 0, b"0123456789\n"),
    "WRITE of the rest": lambda raw, handle: raw.write(handle, 11, b"more\n"),
    "WRITE of 0": lambda raw, handle: raw.write(handle, 0, b""),
    "WRITE at 2^63": lambda raw, handle: raw.write(handle, 2**63, b"x"),
    "FSTAT": lambda raw, handle: raw.request(Request.FSTAT, string(handle)),
    "FSETSTAT size 4": lambda raw, handle: raw.fsetstat(handle, size=4),
    "FSETSTAT mode": lambda raw, handle: raw.fsetstat(handle, permissions=0o600),
    "FSETSTAT times": lambda raw, handle: raw.fsetstat(handle, atime=1, mtime=1),
    "FSETSTAT nothing": lambda raw, handle: raw.fsetstat(handle),
    "READDIR": lambda raw, handle: raw.request(Request.READDIR, string(handle)),
    "fsync": lambda raw, handle: raw.extended("fsync@openssh.com", string(handle)),
    "fstatvfs": lambda raw, handle: raw.extended("fstatvfs@openssh.com", string(handle)),
}

# every request with one path, on every kind of path
_PATHS = {
    "a file": "a.csv",
    "a file with a slash": "a.csv/",
    "a file with a slash and a dot": "a.csv/.",
    "nothing": "none",
    "nothing with a slash": "none/",
    "a directory": "d",
    "a directory with a slash": "d/",
    "an empty directory": "e",
    "an empty directory with a slash": "e/",
    "something below a file": "a.csv/x",
    "something below nothing": "none/x",
    "an empty path": "",
}
for _what, _name in _PATHS.items():
    for _kind in (Request.STAT, Request.LSTAT, Request.OPENDIR, Request.REMOVE, Request.RMDIR, Request.REALPATH):
        _ask(f"{_kind.name} of {_what}", partial(lambda n, k, asked: _on(asked, k, n), _name, _kind))
    _ask(f"MKDIR of {_what}", partial(lambda n, asked: _on(asked, Request.MKDIR, n, rest=uint32(0)), _name))
    _ask(
        f"SETSTAT of the mode of {_what}", partial(lambda n, asked: _on(asked, Request.SETSTAT, n, rest=uint32(4, 0o755)), _name)
    )
    _ask(
        f"SETSTAT of the times of {_what}", partial(lambda n, asked: _on(asked, Request.SETSTAT, n, rest=uint32(8, 1, 1)), _name)
    )
    _ask(
        f"lsetstat of {_what}", partial(lambda n, asked: _extended(asked, "lsetstat@openssh.com", n, rest=uint32(8, 1, 1)), _name)
    )
    _ask(f"statvfs of {_what}", partial(lambda n, asked: _extended(asked, "statvfs@openssh.com", n), _name))
    for _flags_name, _flags in (("READ", R), ("READ|CREAT", R | C), ("WRITE", W), ("WRITE|CREAT|TRUNC", W | C | T)):
        _acts: tuple[str, ...] = ("WRITE",) if W in _flags else ("READ",)
        _ask(
            f"OPEN {_flags_name} of {_what}",
            partial(lambda n, f, acts, asked: _open(asked, n, f, *acts), _name, _flags, _acts),
        )

# OPEN: the other flags, and what a handle can do
for _what, _name in (("a file", "a.csv"), ("nothing", "none")):
    for _flags_name, _flags in (
        ("no flags", Open(0)),
        ("READ|WRITE", R | W),
        ("READ|WRITE|CREAT", R | W | C),
        ("WRITE|CREAT", W | C),
        ("WRITE|TRUNC", W | T),
        ("WRITE|CREAT|EXCL", W | C | X),
        ("WRITE|CREAT|TRUNC|EXCL", W | C | T | X),
        ("WRITE|EXCL", W | X),
        ("WRITE|APPEND", W | A),
        ("WRITE|CREAT|APPEND", W | C | A),
        ("READ|TRUNC", R | T),
        ("READ|CREAT|EXCL", R | C | X),
    ):
        _acts = (
            ("WRITE of the rest",) if W in _flags and _name == "a.csv" and T not in _flags else ("WRITE",) if W in _flags else ()
        )
        _ask(
            f"OPEN {_flags_name} of {_what}, then writing" if W in _flags else f"OPEN {_flags_name} of {_what}",
            partial(lambda n, f, acts, asked: _open(asked, n, f, *acts), _name, _flags, _acts),
        )
for _act in (name for name in _HANDLE_ACTS if name not in ("READDIR",)):
    _ask(f"{_act} on a handle for reading", partial(lambda act, asked: _open(asked, "a.csv", R, act), _act))
for _act in (
    "READ",
    "READ of 0",
    "FSTAT",
    "FSETSTAT mode",
    "FSETSTAT nothing",
    "WRITE of 0",
    "WRITE at 2^63",
    "fsync",
    "fstatvfs",
):
    _ask(f"{_act} on a handle for writing", partial(lambda act, asked: _open(asked, "a.csv", W, act), _act))
_ask("FSETSTAT size 4 on a handle for writing", lambda asked: _open(asked, "a.csv", W, "FSETSTAT size 4"))


async def _on_listing(act: str, asked: Asked) -> list[str]:
    answer = await asked.raw.on(Request.OPENDIR, asked.path("e"))
    return [asked.said(await _HANDLE_ACTS[act](asked.raw, answer.handle)), asked.said(await asked.raw.close(answer.handle))]


for _act in (
    "READ",
    "WRITE",
    "FSTAT",
    "FSETSTAT mode",
    "FSETSTAT size 4",
    "FSETSTAT times",
    "FSETSTAT nothing",
    "fsync",
    "fstatvfs",
):
    _ask(f"{_act} on a handle of a directory", partial(_on_listing, _act))
_ask("READDIR on a handle for reading", lambda asked: _open(asked, "a.csv", R, "READDIR"))


async def _listing_twice(asked: Asked) -> list[str]:
    handle = (await asked.raw.on(Request.OPENDIR, asked.path("e"))).handle
    answers = [await asked.raw.request(Request.READDIR, string(handle)) for _ in range(3)]
    kinds = ["names" if answer.kind == Reply.NAME else asked.said(answer) for answer in answers]
    return [*kinds, asked.said(await asked.raw.close(handle)), asked.said(await asked.raw.close(handle))]


_ask("READDIR to the end and once more, CLOSE twice", _listing_twice)


async def _unknown_handle(asked: Asked) -> list[str]:
    raw, handle = asked.raw, b"none"
    return [
        asked.said(answer)
        for answer in (
            await raw.close(handle),
            await raw.read(handle),
            await raw.write(handle, 0, b"x"),
            await raw.request(Request.FSTAT, string(handle)),
            await raw.request(Request.READDIR, string(handle)),
        )
    ]


_ask("CLOSE, READ, WRITE, FSTAT, READDIR of an unknown handle", _unknown_handle)


async def _sized(name: str, size: int, asked: Asked) -> list[str]:
    return [asked.said(await asked.raw.setstat(asked.path(name), size=size))]


_ask("SETSTAT to a smaller size", partial(_sized, "a.csv", 4))
_ask("SETSTAT to the same size", partial(_sized, "a.csv", 11))
for _what, _name in _PATHS.items():
    _ask(f"SETSTAT of the size of {_what}", partial(_sized, _name, 0))
    _ask(
        f"SETSTAT of size and times of {_what}",
        partial(lambda n, asked: _on(asked, Request.SETSTAT, n, rest=uint32(9) + uint64(0) + uint32(1, 1)), _name),
    )


async def _top(flags: int, values: bytes, asked: Asked) -> list[str]:
    """SETSTAT of the directory where a connection starts, by each of its names."""
    names = (".", "./", asked.top, f"{asked.top}/", f"{asked.base}/..")
    return [asked.said(await asked.raw.request(Request.SETSTAT, string(name), uint32(flags) + values)) for name in names]


_ask("SETSTAT of the size of the top", partial(_top, 1, uint64(0)))
_ask("SETSTAT of a larger size of the top", partial(_top, 1, uint64(1 << 40)))
_ask("SETSTAT of size and mode of the top", partial(_top, 5, uint64(0) + uint32(0o755)))
_ask("SETSTAT of the mode of the top", partial(_top, 4, uint32(0o755)))
_ask("SETSTAT of the times of the top", partial(_top, 8, uint32(1, 1)))
_ask("SETSTAT of nothing of the top", partial(_top, 0, b""))

# both ways to rename, from and to every kind of path
_PAIRS = {
    "a file to a free name": ("a.csv", "new.csv"),
    "a file to a free name with a slash": ("a.csv", "new/"),
    "a file with a slash": ("a.csv/", "new.csv"),
    "a file to itself": ("a.csv", "a.csv"),
    "a file onto a file": ("a.csv", "b.csv"),
    "a file onto a file with a slash": ("a.csv", "b.csv/"),
    "a file onto an empty directory": ("a.csv", "e"),
    "a file onto an empty directory with a slash": ("a.csv", "e/"),
    "a file onto a directory": ("a.csv", "d"),
    "a file into a directory": ("a.csv", "d/a.csv"),
    "a file into nothing": ("a.csv", "none/a.csv"),
    "a file below a file": ("a.csv", "b.csv/a.csv"),
    "nothing": ("none", "new.csv"),
    "nothing onto a file": ("none", "a.csv"),
    "a directory to a free name": ("d", "new"),
    "a directory to a free name with slashes": ("d/", "new/"),
    "a directory to itself": ("d", "d"),
    "a directory onto an empty one": ("d", "e"),
    "a directory onto an empty one with slashes": ("d/", "e/"),
    "an empty directory onto a full one": ("e", "d"),
    "a directory onto a file": ("d", "a.csv"),
    "a directory into itself": ("d", "d/inner"),
    "an empty path": ("", "new.csv"),
    "a file to an empty path": ("a.csv", ""),
}
for _what, (_old, _new) in _PAIRS.items():
    _ask(f"RENAME of {_what}", partial(lambda o, n, asked: _on(asked, Request.RENAME, o, n), _old, _new))
    _ask(f"posix-rename of {_what}", partial(lambda o, n, asked: _extended(asked, "posix-rename@openssh.com", o, n), _old, _new))

# the rest
_ask("READLINK of a file", lambda asked: _on(asked, Request.READLINK, "a.csv"))
_ask("SYMLINK", lambda asked: _on(asked, Request.SYMLINK, "a.csv", "link"))
_ask("hardlink", lambda asked: _extended(asked, "hardlink@openssh.com", "a.csv", "link"))
_ask("an extension that does not exist", lambda asked: _extended(asked, "none@example.org", "a.csv"))
_ask("limits", lambda asked: _extended(asked, "limits@openssh.com"))


async def _copied(target_flags: Open, target: str, asked: Asked) -> list[str]:
    source, aim = await asked.raw.open_file(asked.path("a.csv"), R), await asked.raw.open_file(asked.path(target), target_flags)
    said = [asked.said(await asked.raw.extended("copy-data", string(source), uint64(0, 0), string(aim), uint64(0)))]
    return [*said, *[asked.said(await asked.raw.close(handle)) for handle in (source, aim)]]


_ask("copy-data to a new file", partial(_copied, W | C | T, "copy.csv"))
_ask("copy-data to a handle for reading", partial(_copied, R, "b.csv"))


async def _path_of(name: str, asked: Asked) -> list[str]:
    return [asked.said(await asked.raw.on(Request.REALPATH, name))]


for _name in (".", "..", "/", "../..", "./.", "//", "d/.."):
    _ask(f"REALPATH of {_name}, from the start", partial(_path_of, _name))
for _what, _name in (("a file", "a.csv/.."), ("a directory", "d/.."), ("nothing", "none/..")):
    _ask(f"STAT of a file on the way over {_what}", partial(lambda n, asked: _on(asked, Request.STAT, n + "/b.csv"), _name))
for _what, _name in (("256 bytes", "n" * 256), ("5,001 bytes", "p/" * 2500 + "x")):
    _ask(f"STAT of a name of {_what}", partial(lambda n, asked: _on(asked, Request.STAT, n), _name))
    _ask(f"OPEN WRITE|CREAT|TRUNC of a name of {_what}", partial(lambda n, asked: _open(asked, n, W | C | T), _name))
    _ask(f"MKDIR of a name of {_what}", partial(lambda n, asked: _on(asked, Request.MKDIR, n, rest=uint32(0)), _name))
