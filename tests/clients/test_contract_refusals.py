"""What each client tells its user if the CLOSE of its upload fails, because the tool's contract objects to the file.

The table in docs/clients.md is ``SHOWN``; a test compares the two, and each client is made to do it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from docs.generate import CLIENTS as DOCUMENT
from tests.clients.drivers import steps as do
from tests.clients.drivers.base import Client
from tests.clients.drivers.registry import CLIENTS
from tests.clients.servers import Sftpgate

CONTRACT = """
refuse = "close"
refuse_wait = "30s"

[tools.people]
file = "people.csv"
command = ["true"]

[tools.people.contract]
header = ["uid", "name"]
key = ["uid"]
"""
GOOD, BAD = b"uid;name\nu1;a\n", b"uid;name\nu1;a;b;c\n"
SENTENCE = "line 2: The row has 4 fields, the header 2: u1;a;b;c"


@dataclass(frozen=True)
class Shown:
    """Whether the client fails, and whether its user reads the sentence."""

    fails: bool
    sentence: bool


SHOWN: dict[str, Shown] = {
    "sftp": Shown(fails=True, sentence=True),
    "scp": Shown(fails=True, sentence=True),
    "lftp": Shown(fails=True, sentence=True),
    "rclone": Shown(fails=True, sentence=True),
    "curl": Shown(fails=False, sentence=False),
    "psftp": Shown(fails=True, sentence=False),
    "pscp": Shown(fails=False, sentence=False),
    "paramiko": Shown(fails=False, sentence=False),
    "asyncssh": Shown(fails=True, sentence=True),
    "ssh2-sftp-client": Shown(fails=True, sentence=True),
    "jsch": Shown(fails=True, sentence=True),
    "phpseclib": Shown(fails=True, sentence=False),
    "ruby-net-sftp": Shown(fails=True, sentence=False),
    "perl-net-sftp-foreign": Shown(fails=True, sentence=True),
}


def render() -> str:
    """The table."""
    words = {True: "yes", False: "**no**"}
    rows = [
        f"| {client.title} | {words[SHOWN[client.name].fails]} | {words[SHOWN[client.name].sentence]} |"
        for client in CLIENTS
        if client.name in SHOWN
    ]
    return "\n".join(["| client | calls the upload a failure | shows the sentence |", "| --- | --- | --- |", *rows])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sftpgate]:
    """A server whose tool has a contract, and which answers with it."""
    running = Sftpgate(tmp_path_factory.mktemp("server"))
    (running.directory / "sftpgate.toml").write_text(CONTRACT, encoding="ascii")
    try:
        running.start()
        yield running
    finally:
        running.stop()
    shutil.rmtree(running.directory, ignore_errors=True)


@pytest.mark.promise("P7")
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_what_a_client_shows(client: Client, server: Sftpgate, tmp_path: Path) -> None:
    """A good file is a success for every client; of a bad one each says what the document says, and it is held."""
    if missing := client.missing():
        message = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    connection = server.connection(tmp_path)
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_bytes(GOOD)
    bad.write_bytes(BAD)
    outcome = client.run(connection, [do.Put(good, "people.csv")])
    assert outcome.ok, outcome.output
    outcome = client.run(connection, [do.Put(bad, "people.csv")])
    print(outcome.output)
    assert Shown(fails=not outcome.ok, sentence=SENTENCE in outcome.said) == SHOWN.get(client.name), outcome.output
    assert (server.store / "people.csv").read_bytes() == GOOD


def test_the_document() -> None:
    """The document says of each client what was seen."""
    assert SHOWN.keys() == {client.name for client in CLIENTS}
    assert render() in DOCUMENT.read_text(encoding="utf-8"), render()
