"""What of a tool's output its sender may read."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.policy.disclosure import public_line, public_text


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Reading /var/www/moodle/config.php now", "Reading [path] now"),
        ("in C:\\inetpub\\moodle\\x.php", "in [path]"),
        ("cannot connect to 10.0.0.7:5432", "cannot connect to [address]"),
        ("host=db.internal port=5432 dbname=moodle", "host=[...] port=[...] dbname=[...]"),
        ("pgsql://moodle:secret@db/moodle failed", "pgsql://[...] failed"),
        ("connect to localhost:3306 failed", "connect to [address] failed"),
        ("address 2001:db8:1:2:3:4:5:6 is away", "address [address] is away"),
        (
            "Default exception handler: Error; Debug: in /srv/www/x/y.php:12",
            "Default exception handler: Error; Debug: in [path]:12",
        ),
        ("#0 /var/www/moodle/lib/dml.php(12): x()", None),
        ("* line 485 of /lib/setuplib.php: call to x()", None),
        ('  File "/usr/lib/python3/x.py", line 3, in run', None),
        ("    at org.example.Import.run(Import.java:7)", None),
        ("Stack trace:", None),
        ("[30-Nov-2026 10:00:00 UTC] PHP Stack trace:", None),
        ("(include_path='.:/usr/share/php')", "(include_path='.:[path]')"),
        ("Cannot open /srv/données/élèves/x.php", "Cannot open [path]"),
        ("share \\\\files\\moodle is away", "share [path] is away"),
        ("address fd00:1::5 is away", "address [address] is away"),
        ('connection to server at "db.internal" (10.1.2.3) failed', "connection to server at [address] ([address]) failed"),
        ("Access denied for user 'moodle'@'db.internal'", "Access denied for user [...]"),
        ("getaddrinfo for db.internal failed", "getaddrinfo for [address] failed"),
        ("the runner (pid 12 on gate1) is gone", "the runner (pid 12 on [address]) is gone"),
        ("le programme (pid 12 sur gate1) n'est plus là", "le programme (pid 12 sur [address]) n'est plus là"),
        ("password: hunter2", "password: [...]"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=[...] psql"),
        ("$CFG->dbpass    = 'hunter2';", "$CFG->dbpass    = [...];"),
        ("  'password' => 'hunter 2',", "  'password' => [...],"),
        ('{"token": "abc", "rows": 3}', '{"token": [...], "rows": 3}'),
        ("Authorization: Bearer abc.def", "Authorization: [...]"),
        ("mot de passe : hunter2", "mot de passe : [...]"),
        ("host: db.internal", "host: [...]"),
        ("no answer of db1.school.example:5432", "no answer of [address]"),
        ("\x1b[31m/var/www/moodle/x.php\x1b[0m is red", "[path] is red"),
        ("\x1b]0;/var/www/moodle\x07title", "title"),
        ("/var\b/www/moodle", "[path]"),
        ("see ~moodle/config.php", "see [path]"),
    ],
)
def test_the_inside_of_the_platform_is_left_out(line: str, shown: str | None) -> None:
    """A summary has no path, no address and no stack trace."""
    assert public_line(line.encode()) == (None if shown is None else shown.encode())


@pytest.mark.parametrize(
    "line",
    [
        "Line 4: unknown course MATH-1/2",
        "cmd;rolename;cid;uid",
        "add,student,u12,MATH1",
        "26/11/2026 12:30:15 done",
        "user a.b@school.example not found",
        "version 4.5.6 of 2026.11.30",
        "role /student is unknown",
        "no course for user 'jdoe'",
        "1/2 rows, 3.5 %, a:b:c",
        "élève inconnu : André",
        "Line 7: the password is too short",
        "the report: 12 rows; hostel: none",
        "12:30:15\tdone",
        "Users having a weak password: 0",
    ],
)
def test_content_stays(line: str) -> None:
    """What a sender's own file can have stays as it is."""
    assert public_line(line.encode()) == line.encode()
    assert public_text(line) == line


# Marks that no sender may read, in the forms in which programs print them.
SECRETS = [
    "password: {}",
    "Password={};",
    '"dbpass": "{}"',
    "PGPASSWORD={}",
    "mysql://moodle:{}@db/x",
    "api_key => '{}'",
    "token:{}",
    "/srv/{}/config.php",
    "C:\\{}\\config.php",
    "host={}",
    "(pid 7 on {})",
]


def decorated(line: str, how: str) -> bytes:
    """A line as a program might print it."""
    coloured = f"\x1b[1;31m{line}\x1b[0m"
    match how:
        case "colours":
            return coloured.encode()
        case "a colour in between":
            return line.replace("x", "\x1b[0mx").encode()
        case "UTF-16 that nobody announced":
            return line.encode("utf-16-le")
        case "overwritten":
            return f"50 %\x08\x08{line}".encode()
        case _:
            return line.encode()


@given(
    st.sampled_from(SECRETS),
    st.text(st.sampled_from("abcxyz0123456789"), min_size=8, max_size=20),
    st.text(st.sampled_from(" abc,.x-"), max_size=30),
    st.sampled_from(["plain", "colours", "a colour in between", "UTF-16 that nobody announced", "overwritten"]),
)
def test_no_form_of_a_secret_is_shown(form: str, secret: str, before: str, how: str) -> None:
    """However a program prints a password, a path or a machine, a summary does not have it."""
    shown = public_line(decorated(f"{before} {form.format(secret)}", how)) or b""
    assert secret.encode() not in shown.replace(b"\0", b"")


@pytest.mark.parametrize(
    "line",
    [
        letters * (64 * 1024 // len(letters))
        for letters in (
            *(
                b"a",
                b"/",
                b"/a",
                b":",
                b"1:",
                b"1.",
                b"a.",
                b"password",
                b"=",
                b"host ",
                b"\x1b",
                b"\x1b[",
                b"\x1b]",
                b"'",
                b"~",
                b"~/",
            ),
            *(b"password:'", b"a:", b"for ", b"\\", b"x://", b"x", b"#0 "),
        )
    ],
    ids=lambda line: repr(line[:10]),
)
def test_no_line_takes_long(line: bytes) -> None:
    """The longest line that is looked at in one piece is read in a moment, whatever is in it."""
    began_at = time.process_time()
    public_line(line)
    assert time.process_time() - began_at < 2
