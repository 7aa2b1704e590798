"""Text of strangers, senders and local programs in the log and on the terminal of a tired admin: it is data, on one line, and
paints nothing.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import asyncssh
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from sftpgate import logs
from sftpgate.ledger import arrivals
from tests.harness.commands import clean_environment, run, sftpgate
from tests.harness.gates import Gate, Start
from tests.harness.raw import WAIT_SECONDS, Raw
from tests.harness.strangers import Stranger

# a new line with a false record, a cleared screen, a window title, C1's CSI, right-to-left and isolating marks, NUL, DEL,
# line and paragraph separators, a byte order mark, and what is no UTF-8
HOSTILE = (
    "a\n{'event': 'login.accepted'}",
    "a\r\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\u202egpj.vsc",
    "\u2066\u200b\u2069",
    "a\x00b",
    "\x7f\x08\x08",
    "a\u2028b\u2029c\x85d",
    "\ufeffx",
    "\udcff\udcfe",
)
PASSWORD = "a wrong password of somebody"
HOSTILE_PASSWORD = f"\x1b[2J\u202e\n{PASSWORD}"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def rendered(entries: list[dict[str, object]], stream: TextIO) -> list[str]:
    """The lines that the log has of some events, and nothing that is not a line."""
    before = structlog.get_config()
    try:
        logs.configure("debug", stream=stream, worker=1)
        for entry in entries:
            rest = dict(entry)
            log = logs.get_logger(str(rest.pop("component", "test")))
            getattr(log, str(rest.pop("log_level", "info")))(rest.pop("event"), **rest)
    finally:
        structlog.configure(**before)
    assert isinstance(stream, io.StringIO)
    text = stream.getvalue()
    assert text.endswith("\n") and "\r" not in text
    return text.removesuffix("\n").split("\n")


def check_log(entries: list[dict[str, object]]) -> None:
    """Each event is one JSON object on one line, and one line on a terminal; no character of either is a control character."""
    lines = rendered(entries, io.StringIO())
    assert len(lines) == len(entries)
    for line, entry in zip(lines, entries, strict=True):
        found = json.loads(line)
        assert (found["event"], found["worker"]) == (entry["event"], 1)
        assert line.isprintable() and line.encode(), repr(line)
    shown = rendered(entries, Terminal())
    assert len(shown) == len(entries)
    for line in shown:
        assert _COLOURS.sub("", line).isprintable(), repr(line)


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_any_value_is_one_line(value: object) -> None:
    """A log line with any text in it, in a list or a table too, is one printable line, as JSON and on a terminal."""
    check_log([{"event": "test.event", "value": value}])


def test_an_exception_paints_nothing() -> None:
    """A traceback is one line of JSON, and on a terminal some lines without a control character, whatever its message says."""
    try:
        raise ValueError("".join(HOSTILE))
    except ValueError as error:
        entry: dict[str, object] = {"event": "task.failed", "log_level": "error", "exc_info": error}
    [line] = rendered([entry], io.StringIO())
    assert "ValueError" in json.loads(line)["exception"] and line.isprintable(), repr(line)
    assert all(_COLOURS.sub("", line).isprintable() for line in rendered([entry], Terminal()))


async def attempt(gate: Gate, user: str, password: str, client: bytes = b"test") -> None:
    """A login that fails."""

    class Client(asyncssh.SSHClient):
        """Says what asyncssh would refuse to say."""

        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            """Before the first line."""
            vars(conn).update(_version=client, _username=user)

    with suppress(asyncssh.Error, OSError, UnicodeError):
        async with (
            asyncio.timeout(WAIT_SECONDS),
            asyncssh.connect(
                "127.0.0.1",
                gate.port,
                client_factory=Client,
                username="nobody",
                password=password,
                client_keys=None,
                known_hosts=None,
                config=None,
                agent_path=None,
            ),
        ):
            raise AssertionError("the login was accepted")


async def name_files(raw: Raw) -> None:
    """Requests with every hostile name; most are refused, and some make a file."""
    for text in HOSTILE:
        name = text.encode("utf-8", "surrogateescape")
        for path in (name, name + b".csv", b"sub/" + name + b".csv"):
            answer = await raw.try_open(path)
            if answer.kind != 101:  # a handle
                await raw.write(answer.handle, 0, b"a,1\n")
                await raw.close(answer.handle)
        await raw.mkdir(name + b".d")
        await raw.rename(b"good.csv", name)
        await raw.extended(text.encode("utf-8", "replace").decode(), b"")


def plant(directory: Path) -> None:
    """Files of other programs, by every name that a disk can have."""
    for text in HOSTILE:
        with suppress(ValueError):  # NUL
            (directory / f"{text.replace('/', '')}.csv").write_bytes(b"a,1\n")


LISTINGS = (
    ("status",),
    ("arrivals",),
    ("show", "ID"),
    ("audit", "--limit", "10000"),
    ("audit", "--format", "csv"),
    ("audit", "--format", "jsonl"),
    ("store", "list"),
    ("store", "tree"),
    ("key", "list", "erp"),
    ("user", "list"),
    ("user", "show", "erp"),
    ("ban", "list"),
    ("sweep",),
    ("verify",),
    ("doctor",),
)
ON_A_TERMINAL = (("arrivals",), ("audit", "--limit", "10000"), ("store", "list"), ("key", "list", "erp"), ("status",))


@pytest.fixture
async def hostile(start: Start) -> Gate:
    """A stopped gate that has seen it all; what it logged is checked."""
    async with start(max_auth_attempts=3, ban_threshold=10_000, settle_seconds=0) as gate:
        with (gate.directory / "keys/users/erp/authorized_keys").open("ab") as keys:
            key = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").strip()
            keys.write(key + " \x1b[2J\u202ecomment \x9b2J".encode() + b" \xff\n")
        async with gate.raw() as raw:
            await raw.put("good.csv", b"a,1\n")
            await raw.mkdir("sub")
            await name_files(raw)
        for text in HOSTILE:
            with suppress(UnicodeError):
                text.encode()
                await attempt(gate, text, HOSTILE_PASSWORD)
            await attempt(gate, "erp", PASSWORD, text.encode("utf-8", "surrogateescape").replace(b"\n", b"").replace(b"\r", b""))
            async with await Stranger.connect(gate.port, b"SSH-2.0-" + text.encode("utf-8", "surrogateescape") + b"\r\n") as one:
                await one.banner()
        plant(gate.drop)
        plant(gate.store)
    refused = gate.log.events("login.refused")
    assert any("\x1b" in str(line["client"]) for line in refused), "no hostile client got to a login"
    assert not any(PASSWORD in str(value) for line in gate.log.entries for value in line.values())
    check_log([dict(line) for line in gate.log.entries])
    return gate


@pytest.mark.timeout(120)
async def test_listings(hostile: Gate) -> None:
    """Every command that shows names, keys, clients or users writes printable lines, to a pipe and to a terminal."""
    with hostile.ledger() as connection:
        item = next(row for row in arrivals.find(connection) if "\u202e" in row.path)
    at_a_time = asyncio.Semaphore(3)

    async def look(words: tuple[str, ...], run: Callable[[Gate, list[str]], str]) -> None:
        async with at_a_time:
            shown = await asyncio.to_thread(run, hostile, [item.id if word == "ID" else word for word in words])
        assert shown.strip() or words == ("ban", "list"), words
        for line in shown.replace("\r\n", "\n").split("\n"):
            assert _COLOURS.sub("", line).isprintable(), (words, line)

    await asyncio.gather(*(look(words, command) for words in LISTINGS), *(look(words, on_a_terminal) for words in ON_A_TERMINAL))


def environment(gate: Gate) -> dict[str, str]:
    """What the commands of a gate run with."""
    return clean_environment(DATA_DIR=gate.data, KEYS_DIR=gate.directory / "keys") | {"TERM": "xterm"}


def command(gate: Gate, words: list[str]) -> str:
    """What a command prints, to both streams."""
    done = run(*words, env=environment(gate), cwd=gate.directory)
    shown = (done.stdout + done.stderr).decode()
    assert "Traceback" not in shown, shown
    return shown


def on_a_terminal(gate: Gate, words: list[str]) -> str:
    """What a command shows on a terminal."""
    ours, theirs = pty.openpty()
    started = sftpgate(*words)
    with subprocess.Popen(
        started, env=environment(gate), cwd=gate.directory, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: it has ended
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
        process.wait(WAIT_SECONDS)
    return shown.decode()
