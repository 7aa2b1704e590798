"""What of a tool's output its sender may read."""

from __future__ import annotations

import pytest

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
    ],
)
def test_content_stays(line: str) -> None:
    """What a sender's own file can have stays as it is."""
    assert public_line(line.encode()) == line.encode()
    assert public_text(line) == line
