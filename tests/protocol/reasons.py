"""Why an answer of ours is another one than that of OpenSSH's server, by question (see ``questions``)."""

from __future__ import annotations

_ONLY_WRITING = "only a handle for writing makes or changes a file, and only its CLOSE hands one over"
_AT_OPEN = "a directory cannot be read as a file: it is said at OPEN"
_TEXT = "paths are resolved on their text, so that a client can ask where a file will be; nothing there is a link"
_DIRECTION = "the handle is open, but not for this: the text says so; NO_SUCH_FILE makes clients think that the file is gone"
_DIRECTORY_HANDLE = "the handle is a directory's: reading and writing are refused, and what has no effect succeeds"
_ONE_CODE = "one code for a handle that is not open, in every request"
_NAME = "the rule for names is in the text; BAD_MESSAGE makes clients think of a broken packet"
_LINKS = "there are no links: whoever can make one can point out of the drop"
_SAME = "the file has this name already: nothing to do"
_INSIDE = "the rule is in the text; BAD_MESSAGE makes clients think of a broken packet"
_OFFSET = "no file can have bytes there; BAD_MESSAGE makes clients think of a broken packet"

REASONS: dict[str, str] = {
    **dict.fromkeys(
        (
            "OPEN READ|CREAT of nothing",
            "OPEN READ|CREAT of nothing with a slash",
            "OPEN READ|CREAT of a file with a slash",
            "OPEN READ|TRUNC of a file",
            "OPEN READ|CREAT|EXCL of nothing",
        ),
        _ONLY_WRITING,
    ),
    **dict.fromkeys(
        (
            "OPEN READ of a directory",
            "OPEN READ of a directory with a slash",
            "OPEN READ of an empty directory",
            "OPEN READ of an empty directory with a slash",
        ),
        _AT_OPEN,
    ),
    **dict.fromkeys(
        (
            "REALPATH of nothing with a slash",
            "REALPATH of something below a file",
            "REALPATH of something below nothing",
            "REALPATH of d/.., from the start",
            "STAT of a file on the way over a file",
            "STAT of a file on the way over nothing",
        ),
        _TEXT,
    ),
    **dict.fromkeys(
        (
            "WRITE on a handle for reading",
            "WRITE of the rest on a handle for reading",
            "WRITE of 0 on a handle for reading",
            "FSETSTAT size 4 on a handle for reading",
            "READ on a handle for writing",
            "READ of 0 on a handle for writing",
            "copy-data to a handle for reading",
        ),
        _DIRECTION,
    ),
    **dict.fromkeys(
        (
            "READ at 2^63 on a handle for reading",
            "WRITE at 2^63 on a handle for reading",
            "WRITE at 2^63 on a handle for writing",
        ),
        _OFFSET,
    ),
    **dict.fromkeys(
        (
            "READ on a handle of a directory",
            "WRITE on a handle of a directory",
            "FSETSTAT mode on a handle of a directory",
            "FSETSTAT times on a handle of a directory",
            "FSETSTAT nothing on a handle of a directory",
            "fsync on a handle of a directory",
            "fstatvfs on a handle of a directory",
        ),
        _DIRECTORY_HANDLE,
    ),
    **dict.fromkeys(
        ("READDIR to the end and once more, CLOSE twice", "CLOSE, READ, WRITE, FSTAT, READDIR of an unknown handle"), _ONE_CODE
    ),
    **dict.fromkeys(("RENAME of a file to itself", "RENAME of a directory to itself"), _SAME),
    **dict.fromkeys(("RENAME of a directory into itself", "posix-rename of a directory into itself"), _INSIDE),
    **dict.fromkeys(("READLINK of a file", "SYMLINK", "hardlink"), _LINKS),
    **dict.fromkeys(
        (
            "STAT of a name of 256 bytes",
            "OPEN WRITE|CREAT|TRUNC of a name of 256 bytes",
            "MKDIR of a name of 256 bytes",
            "STAT of a name of 5,001 bytes",
            "OPEN WRITE|CREAT|TRUNC of a name of 5,001 bytes",
            "MKDIR of a name of 5,001 bytes",
        ),
        _NAME,
    ),
}
