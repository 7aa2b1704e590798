"""What of a tool's output its sender may read, if the report is a summary: nothing of the inside of the platform.

Pure. Left out are stack traces, absolute paths, addresses of machines, names and passwords in database URLs and connection
settings, and what terminals get: colours and other control characters, which could hide one of these. The rules rather take too
much: the admin has the whole output beside it.
"""

from __future__ import annotations

import re

# A line of a stack trace, as PHP, Moodle, Python, Java and Node.js write it.
_TRACE = re.compile(
    rb"^\s*(?:\[\d[^\]]*\] )?"  # the time, as PHP writes it into its log
    rb"(?:#\d+ |\* line \d+ of |at \S+ ?\(|File \"[^\"]+\", line \d+|(?:PHP )?Stack trace:|Traceback \(most|thrown in )"
)
# Colours, titles and other orders for a terminal (ECMA-48), and control characters but tab and line ends. A NUL is half of a
# letter in UTF-16 that nobody announced.
_CONTROL = re.compile(
    rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[ -/]{0,8}[0-~])"
    rb"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+"
)
_SECRET = rb"(?<!weak )passw(?:or)?d|passwd|passphrase|passwort|mot de passe|secret|token|api[_-]?key|credentials?|dsn"
_REPLACED = (
    # a secret or a machine under its name: password: x, "password" => "x", PGPASSWORD=x, $CFG->dbpass = 'x', host: x
    (re.compile(rb"(?i)\b(authorization\s{0,4}:\s{0,4})\S.*"), rb"\1[...]"),
    (
        re.compile(
            rb"(?i)((?:" + _SECRET + rb"|(?<![a-z])(?:pwd|db_?(?:pass|pwd|host|name|user)|pgpass))[\w-]{0,32}[\"']?\]?"
            rb"\s{0,16}(?:=>|:=|[:=])\s{0,16})(?!\[\.\.\.\])(?:\"[^\"]*\"?|'[^']*'?|[^\s;,&]+)"
        ),
        rb"\1[...]",
    ),
    (
        re.compile(
            rb"(?i)(?<![a-z])((?:hostname|host|hostaddr|server|port|pwd|dbname|database)[\"']?\]?\s{0,16}(?:=>|:=|[:=])\s{0,16})"
            rb"(?!\[\.\.\.\]|//)(?:\"[^\"]*\"?|'[^']*'?|[^\s;,&]+)"
        ),
        rb"\1[...]",
    ),
    # scheme://user:password@host/path: all but the scheme
    (re.compile(rb"\b([A-Za-z][A-Za-z0-9+.-]{1,15})://[^\s\"'<>]+"), rb"\1://[...]"),
    (re.compile(rb"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.])"), rb"[address]"),
    (re.compile(rb"(?<![\w:.])\[?(?:[0-9A-Fa-f]{1,4}:){3,7}(?::?[0-9A-Fa-f]{1,4})?\]?(?![\w:])"), rb"[address]"),
    (re.compile(rb"(?<![\w:.])\[?(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}\]?(?![\w:])"), rb"[address]"),
    (re.compile(rb"\blocalhost(?::\d{1,5})?\b"), rb"[address]"),
    # names of machines, as PostgreSQL, MySQL, PHP and our own notices say them
    (re.compile(rb"(?i)\b(server at|host name|host|server on) ([\"'])[^\"']+\2"), rb"\1 [address]"),
    (re.compile(rb"\bgetaddrinfo for \S+"), rb"getaddrinfo for [address]"),
    (re.compile(rb"(?<=(?:denied|failed) )for user ([\"'])[^\"']+\1(@([\"'])[^\"']+\3)?"), rb"for user [...]"),
    (re.compile(rb"(\(pid \d+ (?:on|sur) )[^)]*\)"), rb"\1[address])"),
    # an absolute path has two parts at least; one alone, such as /student, is content
    (re.compile(rb"(?<![\w./\x80-\xff])/?(?:/[\w.@+~%#\x80-\xff-]+){2,}/?"), rb"[path]"),
    (re.compile(rb"(?<![\w./~])~[\w.-]{0,32}/[^\s\"'<>|]+"), rb"[path]"),
    (re.compile(rb"(?<!\w)(?:[A-Za-z]:|\\)\\[^\s\"'<>|]+"), rb"[path]"),
    (re.compile(rb"(?<![\w./-])[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}:\d{2,5}(?!\d)"), rb"[address]"),
)


def without_controls(line: bytes) -> bytes:
    """Return ``line`` without colours and other orders for a terminal, which may stand before the first word of a message."""
    return _CONTROL.sub(b"", line)


def public_text(text: str) -> str:
    """Return ``text``, one line, as its sender may read it."""
    return (public_line(text.encode("utf-8", "backslashreplace")) or b"").decode("utf-8", "replace")


def public_line(line: bytes) -> bytes | None:
    """Return ``line`` as its sender may read it; None if nothing of it is left."""
    line = without_controls(line)
    if _TRACE.match(line):
        return None
    if not any(mark in line for mark in (b"/", b".", b":", b"=", b"localhost", b"\\", b"for ", b"host ", b"(pid ", b"~")):
        return line
    for pattern, instead in _REPLACED:
        line = pattern.sub(instead, line)
    return line
