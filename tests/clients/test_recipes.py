"""The recipes of docs/clients.md, run as they stand there; only address, port and fingerprints are put in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.drivers.base import PYTHON, Client
from tests.clients.drivers.libraries import JSCH_JAR, PHPSECLIB, node_modules
from tests.clients.drivers.registry import CLIENTS
from tests.clients.scenarios import csv
from tests.clients.servers import Server

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/clients.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Program = Callable[[str], tuple[str, list[str]]]  # what a block's text becomes in the file `recipe`, and the command that runs it

JAVA = "import com.jcraft.jsch.*;\npublic class recipe {{ public static void main(String[] a) throws Exception {{\n{}\n}} }}"

LANGUAGES: dict[str, Program] = {
    "sh": lambda text: (text, ["sh", "-eu", "recipe"]),
    "bat": lambda text: (text, ["sh", "-eu", "recipe"]),  # PuTTY's command lines are the same on Linux
    "python": lambda text: (text, [PYTHON, "recipe"]),
    "js": lambda text: (text, ["node", "recipe"]),
    "java": lambda text: (JAVA.format(text), ["java", "-cp", JSCH_JAR, "--source", "17", "recipe"]),
    "php": lambda text: (f"<?php require '{PHPSECLIB}';\n{text}", ["php", "recipe"]),
    "ruby": lambda text: (text, ["ruby", "recipe"]),
    "perl": lambda text: (text, ["perl", "recipe"]),
}
# heading of the document → the client that must be there, and the type of its key
RECIPES = {
    "OpenSSH sftp": ("sftp", "ed25519"),
    "OpenSSH scp": ("scp", "ed25519"),
    "lftp": ("lftp", "ed25519"),
    "rclone": ("rclone", "ed25519"),
    "curl": ("curl", "ecdsa"),
    "PuTTY psftp and pscp": ("psftp", "ed25519"),
    "Python: paramiko": ("paramiko", "ed25519"),
    "Python: asyncssh": ("asyncssh", "ed25519"),
    "Node: ssh2-sftp-client": ("ssh2-sftp-client", "ed25519"),
    "Java: JSch": ("jsch", "ecdsa"),
    "PHP: phpseclib 3": ("phpseclib", "ed25519"),
    "Ruby: Net::SFTP": ("ruby-net-sftp", "rsa"),
    "Perl: Net::SFTP::Foreign": ("perl-net-sftp-foreign", "ed25519"),
}


def sections() -> dict[str, list[tuple[str, str]]]:
    """The fenced blocks of the document, as (language, text), by heading."""
    parts = re.split(r"^## (.+)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title: FENCE.findall(text) for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def client_of(heading: str) -> Client:
    """The client that a recipe is for."""
    return next(client for client in CLIENTS if client.name == RECIPES[heading][0])


def put_in(text: str, server: Server, fingerprints: str) -> str:
    """A recipe with this server's address in it."""
    text = re.sub(r"-hostkey SHA256:… -hostkey SHA256:…", fingerprints, text)
    return text.replace("sftp.example.org", server.host).replace("2222", str(server.port))


@pytest.mark.promise("P1")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("heading", RECIPES)
def test_recipe_uploads(heading: str, server: Server, tmp_path: Path) -> None:
    """Every block of a recipe, copied as it is, ends with status 0 and the file is in the store."""
    if missing := client_of(heading).missing():
        message = f"not installed: {', '.join(missing)}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    key_type = RECIPES[heading][1]
    connection = server.connection(tmp_path)
    (tmp_path / ".ssh").mkdir()
    shutil.copy(server.keys[key_type], tmp_path / "erp_key")
    shutil.copy(f"{server.keys[key_type]}.pub", tmp_path / "erp_key.pub")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    if heading.startswith("PuTTY"):
        argv = ["puttygen", "erp_key", "-O", "private", "-o", "erp_key.ppk"]
        subprocess.run(argv, cwd=tmp_path, env=environment, check=True, timeout=30)
    if heading.startswith("Node"):
        environment["NODE_PATH"] = str(node_modules())
    fingerprints = " ".join(f"-hostkey {fingerprint}" for fingerprint in connection.fingerprints)
    runs = 0
    for language, block in sections()[heading]:
        text = put_in(block, server, fingerprints)
        if language == "ini":
            (tmp_path / "rclone.conf").write_text(text, encoding="utf-8")
            continue
        # a size of its own: rclone skips a file of the size and time of the one that is there, from the recipe before
        content = csv(f"{heading} {language} {runs}", 5000 + 10 * list(RECIPES).index(heading) + runs)
        (tmp_path / "enrols.csv").write_bytes(content)
        program, command = LANGUAGES[language](text)
        (tmp_path / "recipe").write_text(program, encoding="utf-8")
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (server.store / "enrols.csv").read_bytes() == content
        runs += 1
    assert runs


def test_every_client_has_a_recipe() -> None:
    """Every client has a section in docs/clients.md; each section with commands is run here or says that it is not."""
    assert {client for client, _ in RECIPES.values()} | {"pscp"} == {client.name for client in CLIENTS}
    with_commands = {heading for heading, blocks in sections().items() if blocks and "(not run)" not in heading}
    assert with_commands - RECIPES.keys() == {"For all of them"}


def test_known_hosts_recipe(server: Server, tmp_path: Path) -> None:
    """The loop in docs/clients.md makes the file that pins this server's host keys."""
    (text,) = [text for language, text in sections()["For all of them"] if "known_hosts" in text]
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/host").symlink_to(server.host_keys)
    (tmp_path / "recipe").write_text(put_in(text, server, ""), encoding="utf-8")
    subprocess.run(["sh", "-eu", "recipe"], cwd=tmp_path, check=True, timeout=30)
    made = (tmp_path / "known_hosts").read_text(encoding="ascii").splitlines()
    (tmp_path / "wanted").mkdir()
    wanted = server.connection(tmp_path / "wanted").known_hosts.read_text(encoding="ascii").splitlines()
    assert sorted(made) == sorted(wanted)
