"""What is fuzzed: each target takes any bytes, lets through only the errors that its code promises, and checks what must hold.

An exception that leaves a target is a finding. Nothing here writes to the disk, but ``live_users`` to a directory of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import bz2
import contextlib
import gzip
import lzma
import os
import socket
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from itertools import count
from pathlib import Path

from structlog.testing import capture_logs

from sftpgate.errors import BadMessage, KeyRefused, NameRefused, PlaceRefused, SettingsError, UserFileError
from sftpgate.gateway.admission.proxy import client_of, read_header
from sftpgate.policy import formats, texts
from sftpgate.policy.access import Zone, locate, require_writable
from sftpgate.policy.names import VirtualPath, check_storable, folded, normalise, split
from sftpgate.settings.reading import of_text
from sftpgate.users.accounts import parse_account, with_value
from sftpgate.users.keys.authorized import parse_authorized_keys, parse_public_key
from sftpgate.users.keys.certificates import parse_certificate
from sftpgate.users.keys.formats import decode_key_file
from sftpgate.users.logins import judge_key
from sftpgate.users.registry import User, UserRegistry

Target = Callable[[bytes], None]

_MOUNT = VirtualPath("/sync")
_ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43


def names(data: bytes) -> None:
    """A path of a client: what is accepted is in normal form, below the drop, and not reserved in any spelling."""
    try:
        path = normalise(data, _MOUNT)
    except NameRefused:
        return
    assert path.startswith("/")
    assert path == normalise(path.encode(), VirtualPath("/elsewhere")), "not in normal form"
    parts = split(path)
    assert not {"", ".", ".."} & set(parts)
    place = locate(path, _MOUNT)
    try:
        inner = require_writable(place, _MOUNT)
        check_storable(inner)
    except (NameRefused, PlaceRefused):
        return
    assert place.zone is Zone.DROP
    assert path == f"{_MOUNT}/{inner}"
    assert folded(split(inner)[0]) not in ("archives", "reports")


def authorized_keys(data: bytes) -> None:
    """A file of keys: lines that are accepted are found again in what they say of themselves."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(UserFileError):
        keys = parse_authorized_keys(text)
        for key in keys:
            [again] = parse_authorized_keys(key.line)
            assert (again.blob, again.options) == (key.blob, key.options)


def key_files(data: bytes) -> None:
    """What somebody sends as a public key."""
    with contextlib.suppress(KeyRefused):
        key = parse_public_key(decode_key_file(data))
        assert parse_public_key(key.line).blob == key.blob


def certificates(data: bytes) -> None:
    """A certificate, or any blob that a client offers as a key; nobody is let in by it."""
    with contextlib.suppress(KeyRefused):
        parse_certificate(data)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    user = User(name="erp", keys=tuple(parse_authorized_keys(_ED25519)))
    judged = judge_key("erp", user, data, address="192.0.2.1", now=now, issued=now, min_rsa_bits=2048, revoked=frozenset())
    assert judged.refusal is not None or data == user.keys[0].blob
    assert judged.login.isprintable()


def user_toml(data: bytes) -> None:
    """A user's file: what is accepted can be edited, and says the same afterwards."""
    text = data.decode("utf-8", "replace")
    try:
        account = parse_account(text)
    except UserFileError:
        return
    edited = parse_account(with_value(text, "disabled", True))
    assert edited.disabled
    assert (edited.home, edited.networks, edited.password_hash) == (account.home, account.networks, account.password_hash)


def settings(data: bytes) -> None:
    """A settings file: usable, or refused in one line."""
    try:
        of_text(data.decode("utf-8", "replace"), Path("sftpgate.toml"))
    except SettingsError as error:
        assert error.message


def live_users(data: bytes) -> None:
    """Both files of a user, exchanged under a registry that has read good ones: what is in force is what a strict reading
    says, or the last good version.
    """
    directory = _keys_directory() / "users" / "erp"
    account, _, keys = data.partition(b"\0")
    registry = UserRegistry(_keys_directory())
    with capture_logs():
        _put(directory / "authorized_keys", _ED25519.encode())
        _put(directory / "user.toml", b"")
        (directory / "user.toml").unlink()
        good = registry.get("erp")
        assert good is not None and good.keys
        _put(directory / "authorized_keys", keys)
        _put(directory / "user.toml", account)
        found = registry.get("erp")
        try:
            assert found == registry.load("erp")
        except UserFileError as error:
            assert error.message and found == good
        assert registry.get("nobody") is None


@cache
def _keys_directory() -> Path:
    directory = tempfile.TemporaryDirectory(prefix="sftpgate-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    atexit.register(directory.cleanup)
    (Path(directory.name) / "users" / "erp").mkdir(parents=True, mode=0o700)
    return Path(directory.name)


_times = count(1)


def _put(path: Path, content: bytes) -> None:
    """As an editor does it: in place. The time is another one each time, whatever the clock of the disk can tell apart."""
    path.write_bytes(content)
    path.chmod(0o600)
    os.utime(path, ns=(0, next(_times)))


def proxy_header(data: bytes) -> None:
    """What a connection of a proxy begins with: an address, or a refusal, and nothing behind the header is read."""

    async def read() -> tuple[str | None, bytes]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            address = await read_header(ours)
            return address, b"".join(iter(lambda: ours.recv(65536), b""))

    with contextlib.suppress(BadMessage):
        client_of(data)
    try:
        address, rest = asyncio.run(read())
    except BadMessage as error:
        assert error.message.isprintable()
        return
    if address is not None:
        ip_address(address)  # raises ValueError
    assert data.endswith(rest)
    assert client_of(data[: len(data) - len(rest)]) == address


def contents(data: bytes) -> None:
    """What somebody uploads: nothing breaks the look at it, no more is read than is there, and what is whole has a format."""
    reads = 0

    def read(at: int, length: int) -> bytes:
        nonlocal reads
        assert at >= 0 and length >= 0
        reads += 1
        assert reads < 10_000, "not bounded"
        return data[at : at + length]

    finding = formats.examine(len(data), read)
    assert finding.format or finding is formats.NOTHING
    texts.ending(len(data), read)
    texts.breaks_off(len(data), read)
    texts.last_line_ends(len(data), read)
    texts.ends_on_purpose(len(data), 1 + len(data) % 16, read)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (names, authorized_keys, key_files, certificates, user_toml, live_users, settings, proxy_header, contents)
}

# Where a fuzzer starts: one good example and one near miss of each.
SEEDS: dict[str, list[bytes]] = {
    "contents": [
        gzip.compress(b"a,b\n" * 20),
        bz2.compress(b"a,b\n" * 20),
        lzma.compress(b"a,b\n" * 20),
        b"\x28\xb5\x2f\xfd\x00\x58\x19\x00\x00abc",
        b"PK\x05\x06" + bytes(18),
        b"%PDF-1.7\nstartxref\n9\n%%EOF\n",
        b"PAR1\x15\x04\x15\x02\x02\x00\x00\x00PAR1",
        b'{"a": [1, null, "\\u00e9"]}',
        b"<?xml version='1.0'?><!DOCTYPE a><a b='c'>&amp;</a>",
        b'a,b\nc,d\ne,f\ng,"h\n',
        "\ufeffa;b\nc;d\n".encode("utf-16-le"),
    ],
    "names": [b"sub/x.csv", b"/sync/a/../b.csv", "/sync/Archiveſ/ﬁ.csv".encode(), b"/sync/reports ./x", b"a\xff", b"~/.ssh/x"],
    "authorized_keys": [
        f'from="192.0.2.0/24,!192.0.2.7",expiry-time="20270101" {_ED25519} erp\n'.encode(),
        b'cert-authority,principals="erp,hr" ssh-ed25519 AAAA\n# a comment\n\n',
    ],
    "key_files": [
        _ED25519.encode(),
        b'---- BEGIN SSH2 PUBLIC KEY ----\nComment: "x"\nAAAA\n---- END SSH2 PUBLIC KEY ----\n',
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
        b"PuTTY-User-Key-File-3: ssh-ed25519\n",
        b"\xff\xfes\x00s\x00h\x00",
    ],
    "certificates": [
        base64.b64decode(_ED25519.split()[1] + "="),
        b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com\0\0\0\x04nonc\0\0\0\x20" + bytes(32) + bytes(64),
    ],
    "user_toml": [
        b'home = "hr"\nnetworks = ["192.0.2.0/24"]\nexpires = 2027-01-01\n',
        b'password_hash = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"\ndisabled = false\nnotes = """x\n"""\n',
    ],
    "live_users": [
        b"disabled = true\n\0" + _ED25519.encode() + b" erp\n",
        b'networks = ["192.0.2.0/24"]\n\0from="192.0.2.7" ' + _ED25519.encode(),
        b'home = "hr"\npassword_ha\0ssh-ed25519 AAAAC3Nz',
    ],
    "proxy_header": [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 22\r\nSSH-2.0-x\r\n",
        b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 22\r\nSSH-2.0-x\r\n",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x00\x16SSH-2.0-x\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24" + bytes(15) + b"\x01" + bytes(15) + b"\x01\xdc\x04\x00\x16SSH-2.0-x",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
    ],
    "settings": [
        b'port = 2222\nsettle_seconds = "30m"\nmax_upload_bytes = "1GiB"\n[tools.x]\nfile = "x*.csv"\ncommand = ["true"]\n',
        b'algorithms = "hardened"\nworkers = "auto"\nfile_mode = "0640"\n',
    ],
}
