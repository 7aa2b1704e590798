"""Names as clients send them: kept exactly, or refused by a rule's name."""

from __future__ import annotations

import os
import unicodedata

import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Request
from tests.harness.gates import Gate
from tests.protocol.operations import CHANGING, EVERY, MAKING

UNSTORABLE = {
    "a newline": (b"a\nb.csv", "control character"),
    "an escape": (b"\x1b[31mred.csv", "control character"),
    "a delete": (b"a\x7f.csv", "control character"),
    "a C1 control": ("a\x85b.csv".encode(), "control character"),
    "a line separator": ("a\u2028b.csv".encode(), "control character"),
    "256 bytes": (b"a" * 252 + b".csv", "255 bytes"),
    "256 bytes of two each": (("é" * 126 + ".csv").encode(), "255 bytes"),
    "a directory of 256 bytes": (b"d" * 256 + b"/a.csv", "255 bytes"),
    "65 directories": (b"d/" * 65 + b"a.csv", "deep"),
}
UNREADABLE = {
    "Latin-1": (b"fran\xe7ais.csv", "UTF-8"),
    "half a character": (b"a\xc3", "UTF-8"),
    "a surrogate": (b"\xed\xa0\x80.csv", "UTF-8"),
    "an overlong slash": (b"..\xc0\xaf..\xc0\xafetc", "UTF-8"),
    "a NUL": (b"a.csv\0.txt", "NUL"),
    "4000 bytes": (b"d/" * 2000, "3072 bytes"),
}

KEPT = (
    "name with spaces.csv",
    " leading and trailing ",
    "Universität – étudiants (2026) №1.csv",
    "学生.csv",
    "😀.csv",
    "a'b\"c`$(d);e|f&g*h?i[j]k\\l.csv",
    "-rf",
    "~",
    "...",
    "con.csv:stream",
    "a" * 251 + ".csv",
    "é" * 125 + ".csv",
    "\u202egnp.csv",
)


@pytest.mark.promise("P5")
@pytest.mark.parametrize("name", KEPT)
async def test_names_are_kept_exactly(gate: Gate, name: str) -> None:
    """A name comes back byte for byte as it was sent, in listings and on the disk."""
    async with gate.raw() as raw:
        assert await raw.put(name, b"x\n") == Status.OK
        assert await raw.listing(".") == [name]
        assert (await raw.on(Request.STAT, name)).attrs.size == 2
        assert list(gate.in_store() | gate.in_drop()) == [name]
        assert (await raw.on(Request.REMOVE, name)).status == Status.OK
        assert await raw.listing(".") == []


@pytest.mark.promise("P7")
@pytest.mark.parametrize("what", UNSTORABLE)
async def test_names_that_cannot_be_stored(gate: Gate, what: str) -> None:
    """A name that cannot be stored is refused by the rule in every operation that would make it, and nothing is left."""
    name, why = UNSTORABLE[what]
    async with gate.raw(version=6) as raw:
        await raw.put("own.csv", b"own\n")
        for operation in MAKING:
            answer = await CHANGING[operation](raw, name)
            assert answer.status == Status.INVALID_FILENAME, (operation, answer)
            assert why in answer.message and answer.message.isprintable()
        assert gate.in_store() == {"own.csv": b"own\n"} and not gate.in_drop() and gate.staged() == []


@pytest.mark.promise("P7")
@pytest.mark.parametrize("what", UNREADABLE)
async def test_names_that_are_no_names(gate: Gate, what: str) -> None:
    """What is no UTF-8 text, or far too long, is refused by the rule's name in every operation."""
    name, why = UNREADABLE[what]
    async with gate.raw(version=6) as raw:
        await raw.put("own.csv", b"own\n")
        for operation, act in EVERY.items():
            if "link" in operation:
                continue
            answer = await act(raw, name)
            assert answer.status == Status.INVALID_FILENAME, (operation, answer)
            assert why in answer.message
        assert (await raw.on(Request.REALPATH, name)).status == Status.INVALID_FILENAME
        assert gate.in_store() == {"own.csv": b"own\n"} and not gate.in_drop()


@pytest.mark.promise("P5")
async def test_looking_at_names_that_cannot_be_stored(gate: Gate) -> None:
    """What cannot be stored is not there, for those who only look."""
    async with gate.raw() as raw:
        for name, _ in UNSTORABLE.values():
            assert (await raw.on(Request.STAT, name)).status in (Status.NO_SUCH_FILE, Status.PERMISSION_DENIED)
            assert (await raw.try_open(name, Open.READ)).status in (Status.NO_SUCH_FILE, Status.PERMISSION_DENIED)
            assert (await raw.on(Request.REMOVE, name)).status in (Status.NO_SUCH_FILE, Status.PERMISSION_DENIED)


@pytest.mark.promise("P3")
async def test_letter_case_matters(gate: Gate) -> None:
    """Names that differ only in letter case are two files."""
    async with gate.raw() as raw:
        await raw.put("enrols.csv", b"lower\n")
        await raw.put("Enrols.CSV", b"upper\n")
        assert await raw.listing(".") == ["Enrols.CSV", "enrols.csv"]
        assert (await raw.rename("enrols.csv", "ENROLS.csv")).status == Status.OK
        assert gate.in_store() == {"Enrols.CSV": b"upper\n", "ENROLS.csv": b"lower\n"}
        assert gate.archived() == []


@pytest.mark.promise("P3")
async def test_unicode_forms_matter(gate: Gate) -> None:
    """Names that differ only in their Unicode normalisation (macOS sends the other one) are two files."""
    composed = unicodedata.normalize("NFC", "é.csv")
    decomposed = unicodedata.normalize("NFD", "é.csv")
    async with gate.raw() as raw:
        await raw.put(composed, b"composed\n")
        await raw.put(decomposed, b"decomposed\n")
        assert sorted(await raw.listing(".")) == sorted([composed, decomposed])
        assert await raw.get(composed) == b"composed\n"
        assert await raw.get(decomposed) == b"decomposed\n"
        assert gate.archived() == []


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        "_draft.csv",
        "x.csv.tmp",
        "x.csv.part",
        "X.CSV.FILEPART",
        "x.csv.0a1b.partial",
        ".in.x.csv",
        "x.csv(42).tmp",
        "x.csv~",
        ".x.csv.swp",
        "x.csv.sha256",
        "x.csv.done",
        "lock.txt",
    ],
)
async def test_names_that_are_never_taken(gate: Gate, name: str) -> None:
    """Trap: temporary names of clients, hidden names and companions stay in the drop, and behave there as files do."""
    async with gate.raw() as raw:
        assert await raw.put(name, b"x\n") == Status.OK
        assert gate.in_store() == {} and gate.in_drop() == {name: b"x\n"}
        assert await raw.listing(".") == [name]
        assert await raw.get(name) == b"x\n"
        assert (await raw.setstat(name, atime=1, mtime=1)).status == Status.OK
        assert await raw.put(name, b"y\n") == Status.OK
        assert gate.in_drop() == {name: b"y\n"} and gate.archived() == []
        assert (await raw.rename(name, "final.csv")).status == Status.OK
        assert gate.in_store() == {"final.csv": b"y\n"} and gate.in_drop() == {}


@pytest.mark.promise("P1")
async def test_files_below_a_name_that_is_never_taken(gate: Gate) -> None:
    """Everything below a hidden directory or one with an underscore stays in the drop."""
    async with gate.raw() as raw:
        for directory in ("_drafts", ".git"):
            await raw.mkdir(directory)
            await raw.put(f"{directory}/a.csv", b"a\n")
        assert gate.in_store() == {}
        assert gate.in_drop() == {"_drafts/a.csv": b"a\n", ".git/a.csv": b"a\n"}
        assert (await raw.rename("_drafts", "final")).status == Status.OK
        assert gate.in_store() == {"final/a.csv": b"a\n"}


@pytest.mark.promise("P5")
async def test_names_on_disk_that_are_no_text(gate: Gate) -> None:
    """A file of the drop whose name is not UTF-8 is left out of listings, and the others are shown."""
    (gate.drop / os.fsdecode(b"fran\xe7ais.csv")).touch()
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        assert await raw.listing(".") == ["a.csv"]


@pytest.mark.promise("P5")
async def test_deep_directories(gate: Gate) -> None:
    """Directories as deep as the limit work, and one more is refused by the rule."""
    async with gate.raw() as raw:
        path = ""
        for _ in range(63):
            path += "d/"
            assert (await raw.mkdir(path)).status == Status.OK
        assert await raw.put(path + "a.csv", b"a\n") == Status.OK
        assert gate.in_store() == {path + "a.csv": b"a\n"}
        assert (await raw.mkdir(path + "d")).status == Status.OK
        refused = await raw.mkdir(path + "d/d")
        assert refused.status == Status.PERMISSION_DENIED and "deep" in refused.message
