"""What of a tool's output its sender may read, where the report is a summary: nothing of the inside of the platform.

Pure. Left out are stack traces, absolute paths, addresses of machines, and the names and passwords in database URLs and
connection settings. The rules rather take too much: the admin has the whole output beside it.
"""

from __future__ import annotations

import re

# A line of a stack trace, as PHP, Moodle, Python, Java and Node.js write it.
_TRACE = re.compile(
    rb"^\s*(?:\[\d[^\]]*\] )?"  # the time, as PHP writes it into its log
    rb"(?:#\d+ |\* line \d+ of |at \S+ ?\(|File \"[^\"]+\", line \d+|(?:PHP )?Stack trace:|Traceback \(most|thrown in )"
)
_REPLACED = (
    # scheme://user:password@host/path: all but the scheme
    (re.compile(rb"\b([A-Za-z][A-Za-z0-9+.-]{1,15})://[^\s\"'<>]+"), rb"\1://[...]"),
    (
        re.compile(rb"(?i)\b(host|hostaddr|port|password|passwd|pwd|dbname|dsn)\s*=\s*[^\s;,]+"),
        rb"\1=[...]",
    ),
    (re.compile(rb"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.])"), rb"[address]"),
    (re.compile(rb"(?<![\w:.])\[?(?:[0-9A-Fa-f]{1,4}:){3,7}(?::?[0-9A-Fa-f]{1,4})?\]?(?![\w:])"), rb"[address]"),
    (re.compile(rb"(?<![\w:.])\[?(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}\]?(?![\w:])"), rb"[address]"),
    (re.compile(rb"\blocalhost(?::\d{1,5})?\b"), rb"[address]"),
    # names of machines, as PostgreSQL, MySQL, PHP and our own notices say them
    (re.compile(rb"(?i)\b(server at|host name|host|server on) ([\"'])[^\"']+\2"), rb"\1 [address]"),
    (re.compile(rb"\bgetaddrinfo for \S+"), rb"getaddrinfo for [address]"),
    (re.compile(rb"(?<=(?:denied|failed) )for user ([\"'])[^\"']+\1(@([\"'])[^\"']+\3)?"), rb"for user [...]"),
    (re.compile(rb"(\(pid \d+ on )[^)]*\)"), rb"\1[address])"),
    # an absolute path has two parts at least; one alone, such as /student, is content
    (re.compile(rb"(?<![\w./\x80-\xff])/?(?:/[\w.@+~%#\x80-\xff-]+){2,}/?"), rb"[path]"),
    (re.compile(rb"(?<!\w)(?:[A-Za-z]:|\\)\\[^\s\"'<>|]+"), rb"[path]"),
)


def public_text(text: str) -> str:
    """``text``, one line, as its sender may read it."""
    return (public_line(text.encode("utf-8", "backslashreplace")) or b"").decode("utf-8", "replace")


def public_line(line: bytes) -> bytes | None:
    """``line`` as its sender may read it; None if nothing of it is left."""
    if _TRACE.match(line):
        return None
    if not any(mark in line for mark in (b"/", b".", b":", b"=", b"localhost", b"\\", b"for ", b"host ", b"(pid ")):
        return line
    for pattern, instead in _REPLACED:
        line = pattern.sub(instead, line)
    return line
