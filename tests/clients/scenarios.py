"""What every client is made to do. Each function is one row of the matrix; the first line of its docstring is the row's title.

A scenario names what it needs of the client, so that a client which cannot do it has "n/a" in that cell. It acts only through the
client and looks only at the disk. Names and content are the cell's own, so that cells share a server and nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import os
import random
import signal
import subprocess
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sftpgate.users.host_keys.signatures import verify
from tests.clients.drivers import steps as do
from tests.clients.drivers.base import Capability, Client, Connection, Method, Outcome, kill
from tests.clients.relay import Relay
from tests.clients.servers import Server
from tests.harness.servers import until

INTERRUPTED_BYTES = 6 * 1024 * 1024
LONG_BYTES = 32 * 1024 * 1024  # more than any client keeps in flight, also on a line that looks long: a window is 16 MiB then
STOP_BYTES = 3 * 1024 * 1024
INTERRUPT_SECONDS = 10.0  # what a user's patience with Ctrl-C is taken for
LARGE_BYTES = 64 * 1024 * 1024
OLD_MTIME = 1_500_000_000  # 2017: nobody's "now"


def csv(tag: str, size: int = 4321) -> bytes:
    """CSV text of exactly ``size`` bytes that ends with a newline and is like no other tag's.

    No line ends at a multiple of 1024 bytes: an upload that was interrupted between two writes ends inside a line.
    """
    line = f"user%08d,{tag},student,2024-09-01,\n"
    wanted = size // 2 if size < 1000 else size - 200
    text = bytearray(b"username,course,role,start,note\n")
    for number in itertools.count():
        if len(text) >= wanted:
            break
        row = (line % number).encode()
        text += row if (len(text) + len(row)) % 1024 else row[:-1] + b".\n"
    rest = size - len(text)
    return bytes(text + b"x" * (rest - 1) + b"\n")


def archive_of(size: int) -> bytes:
    """A zip archive of exactly ``size`` bytes."""

    def stored(length: int) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("people.csv", csv("archive", length))
        return file.getvalue()

    return stored(size - (len(stored(size)) - size))


@dataclass(frozen=True, slots=True)
class Cell:
    """One client against one server, in a directory of its own."""

    client: Client
    server: Server
    stem: str
    path: Path

    @property
    def name(self) -> str:
        """The plain name to upload to."""
        return f"{self.stem}.csv"

    def connection(self, *, method: Method = Method.PUBLICKEY, port: int | None = None, label: str = "home") -> Connection:
        """A connection with a home directory of its own for each label."""
        workdir = self.path / label
        workdir.mkdir(exist_ok=True)
        return self.server.connection(workdir, method=method, port=port)

    def local(self, content: bytes, name: str = "") -> Path:
        """A local file with this content."""
        file = self.path / "local" / (name or self.name)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        return file

    def run(self, *steps: do.Step, connection: Connection | None = None) -> Outcome:
        """Do the steps; the client must call it a success."""
        outcome = self.client.run(connection or self.connection(), steps)
        assert outcome.ok, outcome.output
        return outcome

    def expect(self, content: dict[str, bytes]) -> None:
        """Exactly these files are in the store, byte for byte, and nothing else of this cell lies about."""
        found = {path: file.read_bytes() for path, file in self.server.in_store(self.stem).items()}
        assert sorted(found) == sorted(content)
        different = [path for path in content if found[path] != content[path]]
        assert not different, [(path, len(found[path]), len(content[path])) for path in different]
        if not self.server.is_reference:
            assert self.server.left_in_drop(self.stem) == []

    def expect_nothing(self) -> None:
        """Nothing of this cell is in the store."""
        if not self.server.is_reference:
            assert list(self.server.in_store(self.stem)) == []


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row."""

    name: str
    needs: frozenset[Capability]
    act: Callable[[Cell], None]

    @property
    def title(self) -> str:
        """The row's title: the first line of the docstring, without the promise."""
        return (self.act.__doc__ or "").partition("\n")[0].rstrip(".").partition(" (P")[0]


SCENARIOS: list[Scenario] = []


def scenario(*needs: Capability) -> Callable[[Callable[[Cell], None]], Callable[[Cell], None]]:
    """Register a scenario with what it needs."""

    def register(act: Callable[[Cell], None]) -> Callable[[Cell], None]:
        SCENARIOS.append(Scenario(name=act.__name__, needs=frozenset(needs), act=act))
        return act

    return register


# -- upload, and what clients do right after it ----------------------------------------------------------------------


@scenario()
def put(cell: Cell) -> None:
    """Upload, with what the client checks by default (P1, P2)."""
    content = csv(cell.stem)
    cell.run(do.Put(cell.local(content), cell.name))
    cell.expect({cell.name: content})


@scenario(Capability.STAT)
def put_then_stat(cell: Cell) -> None:
    """Upload, then ask for its size (P5)."""
    content = csv(cell.stem, 70_707)
    outcome = cell.run(do.Put(cell.local(content), cell.name), do.Stat(cell.name))
    assert "70707" in outcome.said, outcome.output
    cell.expect({cell.name: content})


@scenario(Capability.PRESERVE)
def put_preserving_times(cell: Cell) -> None:
    """Upload with the local file's time kept (P5)."""
    content = csv(cell.stem)
    local = cell.local(content)
    os.utime(local, (OLD_MTIME, OLD_MTIME))
    cell.run(do.Put(local, cell.name, preserve=True))
    cell.expect({cell.name: content})
    assert int(cell.server.in_store(cell.stem)[cell.name].stat().st_mtime) == OLD_MTIME


@scenario(Capability.LIST)
def list_after(cell: Cell) -> None:
    """Upload, then list (P5)."""
    content = csv(cell.stem)
    local = cell.local(content, "source.csv")
    second = f"{cell.stem}-second.csv"
    cell.run(do.Put(local, cell.name))
    outcome = cell.run(do.Put(local, second), do.List())
    assert cell.name in outcome.said  # nothing but the listing mentions the first one
    cell.expect({cell.name: content, second: content})


@scenario(Capability.GET)
def read_back(cell: Cell) -> None:
    """Upload, then download it (P5)."""
    content = csv(cell.stem, 300_000)
    target = cell.path / "back.csv"
    cell.run(do.Put(cell.local(content), cell.name), do.Get(cell.name, target))
    assert target.read_bytes() == content
    cell.expect({cell.name: content})


# -- names -----------------------------------------------------------------------------------------------------------


def _rename_from(cell: Cell, temporary: str) -> None:
    content = csv(cell.stem)
    local = cell.local(content)
    cell.run(do.Put(local, temporary), do.Rename(temporary, cell.name))
    cell.expect({cell.name: content})


@scenario(Capability.RENAME)
def tmp_then_rename(cell: Cell) -> None:
    """Upload as NAME.tmp, then rename (P1, P5)."""
    _rename_from(cell, f"{cell.name}.tmp")


@scenario(Capability.RENAME)
def part_then_rename(cell: Cell) -> None:
    """Upload as NAME.part, then rename (P1, P5)."""
    _rename_from(cell, f"{cell.name}.part")


@scenario(Capability.RENAME)
def filepart_then_rename(cell: Cell) -> None:
    """Upload as NAME.filepart, then rename (P1, P5)."""
    _rename_from(cell, f"{cell.name}.filepart")


@scenario(Capability.RENAME)
def plain_then_rename(cell: Cell) -> None:
    """Upload under a plain name, then rename (P5)."""
    _rename_from(cell, f"{cell.stem}-first.csv")


@scenario()
def temporary_name_stays_out(cell: Cell) -> None:
    """Upload as NAME.tmp without a rename: not in the store (P1)."""
    cell.run(do.Put(cell.local(csv(cell.stem)), f"{cell.name}.tmp"))
    cell.expect_nothing()


@scenario()
def overwrite(cell: Cell) -> None:
    """Upload the same name twice: the second in the store, the first in archives (P3)."""
    first, second = csv(f"{cell.stem}-first"), csv(f"{cell.stem}-second", 3210)
    cell.run(do.Put(cell.local(first), cell.name))
    cell.run(do.Put(cell.local(second), cell.name))
    cell.expect({cell.name: second})
    if not cell.server.is_reference:
        assert [file.read_bytes() for file in cell.server.archived(cell.stem)] == [first]


@scenario(Capability.RENAME)
def rename_onto_earlier(cell: Cell) -> None:
    """Rename NAME.tmp onto an earlier NAME: replaced and archived, or refused (P3)."""
    first, second = csv(f"{cell.stem}-first"), csv(f"{cell.stem}-second", 3210)
    temporary = f"{cell.name}.tmp"
    cell.run(do.Put(cell.local(first), cell.name))
    outcome = cell.client.run(cell.connection(), [do.Put(cell.local(second), temporary), do.Rename(temporary, cell.name)])
    if cell.server.is_reference:
        return
    if outcome.ok:  # clients that use posix-rename, or remove the target first
        cell.expect({cell.name: second})
        archived = [file.read_bytes() for file in cell.server.archived(cell.stem)]
        assert archived in ([], [first]), outcome.output
    else:
        assert [file.read_bytes() for file in cell.server.in_store(cell.stem).values()] == [first], outcome.output
        assert cell.server.left_in_drop(cell.stem) == [temporary], outcome.output


@scenario(Capability.REMOVE)
def set_under_batch_lock(cell: Cell) -> None:
    """Several files under alock.txt: in the store when it is removed, and not before (P1)."""
    content = {f"{cell.stem}-{number}.csv": csv(f"{cell.stem}-{number}") for number in range(3)}
    lock = cell.local(b"", "alock.txt")
    try:
        cell.run(do.Put(lock, "alock.txt"), *(do.Put(cell.local(data, name), name) for name, data in content.items()))
        cell.expect_nothing()
        cell.run(do.Remove("alock.txt"))
    finally:
        (cell.server.drop / "alock.txt").unlink(missing_ok=True)  # for the other cells, where this one failed
    cell.expect(content)


@scenario(Capability.REMOVE)
def remove_then_put(cell: Cell) -> None:
    """Remove the earlier file, then upload (P3, P5)."""
    first, second = csv(f"{cell.stem}-first"), csv(f"{cell.stem}-second", 3210)
    cell.run(do.Put(cell.local(first), cell.name))
    cell.run(do.Remove(cell.name), do.Put(cell.local(second), cell.name))
    cell.expect({cell.name: second})


@scenario(Capability.MKDIR)
def mkdir_and_put(cell: Cell) -> None:
    """Make a directory and upload into it (P1)."""
    content = csv(cell.stem)
    remote = f"{cell.stem}-dir/people.csv"
    cell.run(do.Mkdir(f"{cell.stem}-dir"), do.Put(cell.local(content), remote))
    cell.expect({remote: content})


@scenario()
def spaces_and_accents(cell: Cell) -> None:
    """A name with spaces and accents (P1)."""
    content = csv(cell.stem)
    name = f"{cell.stem} élèves à inscrire.csv"
    cell.run(do.Put(cell.local(content, name), name))
    cell.expect({name: content})


@scenario(Capability.RESERVED_PATHS)
def forbidden_path(cell: Cell) -> None:
    """Upload into a reserved directory: an error, and a failed exit (P6, P7)."""
    local = cell.local(csv(cell.stem))
    outcome = cell.client.run(cell.connection(), [do.Put(local, f"{cell.server.base}/archives/{cell.name}")])
    assert not outcome.ok, outcome.output
    assert cell.server.archived(cell.stem) == []
    cell.expect({})


@scenario(Capability.GET, Capability.RESERVED_PATHS)
def fetch_the_receipt(cell: Cell) -> None:
    """Upload, then fetch the file's receipt, with its signature (P8)."""
    content = csv(cell.stem)
    cell.run(do.Put(cell.local(content), cell.name))
    receipt, signature = cell.path / "receipt.json", cell.path / "receipt.json.sig"
    until(lambda: cell.client.run(cell.connection(), [do.Get(f"/receipts/{cell.name}.json", receipt)]).ok, "the receipt is there")
    cell.run(do.Get(f"/receipts/{cell.name}.json.sig", signature))
    said = json.loads(receipt.read_bytes())
    assert (said["state"], said["sha256"]) == ("received", hashlib.sha256(content).hexdigest())
    assert verify(receipt.read_bytes(), signature.read_text(encoding="ascii"))


# -- sizes and numbers -----------------------------------------------------------------------------------------------


@scenario()
def empty_file(cell: Cell) -> None:
    """An empty file (P1)."""
    cell.run(do.Put(cell.local(b""), cell.name))
    cell.expect({cell.name: b""})


_large = cache(lambda: csv("large", LARGE_BYTES))  # takes a second to make


@scenario()
def large_file(cell: Cell) -> None:
    """64 MiB (P1)."""
    content = _large()
    cell.run(do.Put(cell.local(content), cell.name))
    cell.expect({cell.name: content})


@scenario()
def no_final_newline(cell: Cell) -> None:
    """Text that does not end with a newline (P1)."""
    content = csv(cell.stem, 100_001)[:-1] + b"x"
    cell.run(do.Put(cell.local(content), cell.name))
    cell.expect({cell.name: content})


@scenario()
def short_without_newline(cell: Cell) -> None:
    """A CSV of 20,000 bytes that does not end with a newline, at once (P1)."""
    content = csv(cell.stem, 20_001)[:-2] + b"x"
    cell.run(do.Put(cell.local(content), cell.name))
    cell.expect({cell.name: content})


@scenario()
def binary_of_full_writes(cell: Cell) -> None:
    """Binary content of exactly 1 MiB, at the latest when it comes a second time (P1)."""
    name = f"{cell.stem}.bin"
    content = bytes(range(256)) * 4096
    for _ in range(2):
        cell.run(do.Put(cell.local(content, name), name))
        if cell.server.in_store(cell.stem):
            break
    cell.expect({name: content})


@scenario()
def whole_by_its_content(cell: Cell) -> None:
    """An archive of exactly 1 MiB with its end, at once (P1)."""
    name = f"{cell.stem}.zip"
    content = archive_of(1024 * 1024)
    cell.run(do.Put(cell.local(content, name), name))
    cell.expect({name: content})


@scenario()
def two_hundred_files(cell: Cell) -> None:
    """200 files in one go (P1)."""
    directory = cell.path / "many"
    directory.mkdir()
    content = {f"{cell.stem}-{number:03d}.csv": csv(f"{cell.stem}-{number}", 1000 + number) for number in range(200)}
    for name, data in content.items():
        (directory / name).write_bytes(data)
    cell.run(do.PutAll(directory))
    cell.expect(content)


@scenario()
def eight_at_once(cell: Cell) -> None:
    """8 clients at the same time (P1)."""
    content = {f"{cell.stem}-{number}.csv": csv(f"{cell.stem}-{number}", 400_000) for number in range(8)}
    files = {name: cell.local(data, name) for name, data in content.items()}
    connections = {name: cell.connection(label=name) for name in content}
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda name: cell.client.run(connections[name], [do.Put(files[name], name)]), content))
    assert all(outcome.ok for outcome in outcomes), "\n".join(outcome.output for outcome in outcomes if not outcome.ok)
    cell.expect(content)


@scenario(Capability.APPEND)
def append_to_what_waits(cell: Cell) -> None:
    """Append several writes to a file that waits: at its end, in order (P1, P3)."""
    first, second = csv(f"{cell.stem}-first", 5_001), csv(f"{cell.stem}-second", 150_007)
    cell.run(do.Put(cell.local(first), cell.name))
    cell.run(do.Put(cell.local(second, "more.csv"), cell.name, append=True))
    cell.expect({cell.name: first + second})


# -- interruptions ---------------------------------------------------------------------------------------------------


def _break_in_the_middle(cell: Cell, local: Path) -> None:
    """Kill the client in the middle of an upload and cut its line, so that nothing but a dead connection is left."""
    with Relay(cell.server.host, cell.server.port, stop_after=STOP_BYTES) as relay:
        client = cell.client.start(cell.connection(port=relay.port, label="broken"), [do.Put(local, cell.name)])
        try:
            relay.wait_until_stopped()
            cell.expect_nothing()
        finally:
            kill(client)
        relay.cut()
    cell.expect_nothing()


@scenario(Capability.RESUME)
def broken_then_resumed(cell: Cell) -> None:
    """Broken in the middle, then resumed: never in the store but whole (P1)."""
    content = csv(cell.stem, INTERRUPTED_BYTES)
    local = cell.local(content)
    _break_in_the_middle(cell, local)
    with Relay(cell.server.host, cell.server.port, stop_after=2 * INTERRUPTED_BYTES) as relay:
        cell.run(do.Put(local, cell.name, resume=True), connection=cell.connection(port=relay.port, label="resumed"))
        assert relay.passed < INTERRUPTED_BYTES, "sent as a whole, not resumed"
    cell.expect({cell.name: content})


@scenario()
def broken_then_sent_again(cell: Cell) -> None:
    """Broken in the middle, then sent again from the start (P1)."""
    content = csv(cell.stem, INTERRUPTED_BYTES)
    local = cell.local(content)
    _break_in_the_middle(cell, local)
    cell.run(do.Put(local, cell.name))
    cell.expect({cell.name: content})


@scenario()
def interrupted_by_hand(cell: Cell) -> None:
    """Ctrl-C in the middle: not in the store (P1)."""
    _interrupt_by_hand(cell, csv(cell.stem, LONG_BYTES))


@scenario()
def interrupted_between_records(cell: Cell) -> None:
    """Ctrl-C in the middle of records of fixed width: not in the store (P1)."""
    _interrupt_by_hand(cell, b"".join(b"%015d\n" % number for number in range(LONG_BYTES // 16)))


@scenario()
def interrupted_binary(cell: Cell) -> None:
    """Ctrl-C in the middle of compressed content: not in the store (P1)."""
    _interrupt_by_hand(cell, gzip.compress(random.Random(1).randbytes(LONG_BYTES), 0))  # the same for every run


def _interrupt_by_hand(cell: Cell, content: bytes) -> None:
    local = cell.local(content)
    with Relay(cell.server.host, cell.server.port, stop_after=STOP_BYTES) as relay:
        client = cell.client.start(cell.connection(port=relay.port), [do.Put(local, cell.name)])
        try:
            relay.wait_until_stopped()
            os.killpg(client.pid, signal.SIGINT)
            relay.go_on()
            client.wait(INTERRUPT_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # paramiko, interrupted inside a packet, waits for ever for an answer to the other half
        finally:
            kill(client)  # what is left of it, as its user would
    cell.expect_nothing()


# -- logging in ------------------------------------------------------------------------------------------------------


def _log_in(cell: Cell, method: Method) -> None:
    content = csv(cell.stem)
    cell.run(do.Put(cell.local(content), cell.name), connection=cell.connection(method=method))
    cell.expect({cell.name: content})


@scenario()
def login_by_key(cell: Cell) -> None:
    """Log in with a key."""
    _log_in(cell, Method.PUBLICKEY)


@scenario(Capability.PASSWORD)
def login_by_password(cell: Cell) -> None:
    """Log in with a password."""
    _log_in(cell, Method.PASSWORD)


@scenario(Capability.KEYBOARD_INTERACTIVE)
def login_by_keyboard_interactive(cell: Cell) -> None:
    """Log in by keyboard-interactive."""
    _log_in(cell, Method.KEYBOARD_INTERACTIVE)
