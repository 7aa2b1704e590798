"""Each thing that can be wrong with a file: a file that has it, and a twin without it that passes."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from sftpgate.contracts.judge import ContractVerdict, History, Processed, judge
from sftpgate.contracts.objections import TEXTS
from sftpgate.settings.choices import Language
from sftpgate.settings.contracts import ContractSettings

NOW = datetime(2026, 9, 1, 6, tzinfo=UTC)
HEADER = b"cmd;rolename;cid;uid\n"
TABLE: dict[str, Any] = {"header": ["cmd", "rolename", "cid", "uid"], "key": ["cid", "uid"]}
BOUNDS = {**TABLE, "max_removed": "10%", "max_added": "50%", "max_changed": "75%"}
GROUPS = {**BOUNDS, "group": "cid", "max_removed": "40%"}


def rows(count: int, *, course: str = "C1", first: int = 0, role: str = "student") -> bytes:
    """Rows of one course."""
    return b"".join(f"add;{role};{course};u{number:05d}\n".encode() for number in range(first, first + count))


def file(count: int, **more: Any) -> bytes:
    """A file with a header."""
    return HEADER + rows(count, **more)


@dataclass(frozen=True)
class Case:
    """A bad file and its good twin; ``last`` is the file that the tool processed last."""

    code: str
    bad: bytes
    good: bytes
    contract: dict[str, Any] = field(default_factory=lambda: TABLE)
    last: bytes | None = None
    line: int | None = None


def packed(content: bytes, names: tuple[str, ...] = ("a.csv",)) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


WORKBOOK = packed(b"<x/>", ("[Content_Types].xml", "xl/workbook.xml"))
ONE = b"add;student;C1;u1\n"
LONG = b"add;" + b"x" * 1100 + b";C1;u1\n"
NUMBERS = {"header": ["uid", "grade"], "numbers": ["grade"], "key": ["uid"]}
TRAILER = {**TABLE, "trailer": r"END;(?P<rows>\d+)"}

CASES = [
    # text
    Case("text.bom", b"\xef\xbb\xbf" + file(2), file(2), line=1),
    Case("text.bom", b"\xef\xbb\xbf" + file(2), file(2), {"header": ["uid"], "optional": ["cmd", "rolename", "cid"]}),
    Case("text.utf16", file(2).decode().encode("utf-16"), file(2)),
    Case("text.utf16", file(2).decode().encode("utf-16-le"), file(2)),
    Case("text.nul", file(2) + b"add;stu\0dent;C1;u9\n", file(3), line=4),
    Case("text.nul", file(2) + bytes(4096), file(2)),
    Case("text.encoding", HEADER + "add;élève;C1;u1\n".encode("cp1252"), HEADER + "add;élève;C1;u1\n".encode(), line=2),
    Case(
        "text.encoding",
        HEADER + "add;élève;C1;u1\n".encode(),
        HEADER + "add;élève;C1;u1\n".encode("cp1252"),
        {**TABLE, "encoding": "cp1252"},
        line=2,
    ),
    Case("text.mangled", HEADER + "add;Ã©lÃ¨ve;C1;u1\n".encode(), HEADER + "add;élève à Ãvora;C1;u1\n".encode(), line=2),
    Case(
        "text.mangled",
        HEADER + "add;l\N{REPLACEMENT CHARACTER}ve;C1;u1\n".encode(),
        HEADER + "add;œuvre;C1;u1\n".encode(),
        line=2,
    ),
    Case("text.line_ends", file(2) + b"add;s;C1;u9\r\n", file(2).replace(b"\n", b"\r\n")),
    Case("text.lone_cr", file(2).replace(b"\n", b"\r"), file(2)),
    Case("text.lone_cr", file(2) + b"add;s;C1;u8\radd;s;C1;u9\n", file(2).replace(b"\n", b"\r\n")),
    Case("text.final_newline", file(2)[:-1], file(2), {**TABLE, "final_newline": True}, line=3),
    Case("text.line_length", HEADER + ONE + LONG, HEADER + ONE, {**TABLE, "max_line_bytes": 1023}, line=3),
    Case("text.line_length", HEADER + b"x" * (2 * 1024 * 1024), HEADER + b"add;" + b"x" * 100_000 + b";C1;u1\n", line=2),
    Case("text.invisible", b"cmd;rolename;cid;uid\xe2\x80\x8b\n" + ONE, HEADER + ONE, line=1),
    Case("text.invisible", b"cmd;rolename;cid\xc2\xa0;uid\n" + ONE, HEADER + ONE, line=1),
    # table
    Case("table.header_missing", rows(3), file(3), line=1),
    Case("table.column_missing", file(2).replace(b"rolename", b"role"), file(2), line=1),
    Case("table.column_missing", b"commande;role;cours;uid\n" + ONE, HEADER + ONE, line=1),
    Case("table.column_unknown", b"cmd;rolename;cid;uid;x\nadd;s;C1;u1;1\n", HEADER + ONE, {**TABLE, "exact": True}, line=1),
    Case("table.column_order", b"rolename;cmd;cid;uid\ns;add;C1;u1\n", HEADER + ONE, {**TABLE, "exact": True}, line=1),
    Case("table.column_doubled", b"cmd;rolename;cid;uid;uid\nadd;s;C1;u1;u1\n", HEADER + ONE, line=1),
    Case("table.delimiter", file(2).replace(b";", b","), file(2), line=1),
    Case("table.delimiter", file(2).replace(b";", b"\t"), file(2), line=1),
    Case("table.quote_open", HEADER + b'add;"student;C1;u1\n' + rows(3), HEADER + b'add;"stu;dent";C1;u1\n' + rows(3)),
    Case("table.quote_stray", HEADER + b'add;"stu"dent;C1;u1\n', HEADER + b'add;"stu""dent";C1;u1\n'),
    Case(  # a separator inside quotes, for a tool that knows no quotes
        "table.fields",
        HEADER + b'add;"stu;dent";C1;u1\n',
        HEADER + b"add;stu-dent;C1;u1\n",
        {**TABLE, "quotes": False},
        line=2,
    ),
    Case("table.fields", HEADER + ONE[:-1] + b";;;;\n", HEADER + ONE, line=2),  # tails, as a spreadsheet writes them
    Case("table.quotes", HEADER + b'add;"student";C1;u1\n', HEADER + ONE, {**TABLE, "quotes": False}, line=2),
    Case("table.cell_newline", HEADER + b'add;"a\nb";C1;u1\n', HEADER + b'add;"a b";C1;u1\n', line=2),
    Case("table.cell_newline", file(2) + b'add;"a;C1;u7\nadd;b";C1;u8\n', file(3), line=4),
    Case("table.fields", file(2) + b"add;student;C1\n", file(3), line=4),
    Case("table.fields", file(2) + b"add;student;C1;u9;more\n", file(3), line=4),
    Case("table.empty_row", file(2) + b";;;\n;;;\n", file(2), line=4),
    Case("table.blank", HEADER + ONE + b"\n" + rows(1), HEADER + ONE + b"\n\n", line=3),
    Case("table.number", b"uid;grade\nu1;12,5\n", b"uid;grade\nu1;12.5\nu2;\nu3;-1\n", NUMBERS, line=2),
    *[
        Case("table.start", HEADER + start + b"add;s;C1;u1\n", HEADER + b"add;s" + start + b";C1;u1\n", line=2)
        for start in (b"=", b"+", b"-", b"@", b"(", b"[", b"#", b"/", b" ")
    ],
    # keys
    Case("keys.empty", file(2) + b"add;student;C1;\n", file(3), line=4),
    Case("keys.doubled", file(3) + rows(1), file(3) + rows(1, course="C2"), line=5),
    Case("keys.length", HEADER + b"add;s;C1;" + b"u" * 256 + b"\n", HEADER + b"add;s;C1;" + b"u" * 255 + b"\n", line=2),
    Case("keys.zeros_lost", HEADER + b"add;s;7;u1\n", HEADER + b"add;s;0008;u1\n", last=HEADER + b"add;s;0007;u1\n", line=2),
    Case("keys.shape", file(1) + b"add;s;Mathematics (6B);u9\n", file(1) + b"add;s;D7;u9\n", last=file(3), line=3),
    # amounts
    Case("amounts.empty", b"", file(1)),
    Case("amounts.empty", b"\n\n  \n", file(1)),
    Case("amounts.header_only", HEADER, HEADER + ONE),
    Case("amounts.too_few", file(3), file(4), {**TABLE, "min_rows": 4}),
    Case("amounts.too_many", file(5), file(4), {**TABLE, "max_rows": 4}),
    Case("amounts.sheet_limit", file(65_535), file(65_536)),
    Case("amounts.sheet_limit", b"a\n" * 1_048_576, b"a\n" * 1_048_575, {"format": "text"}),
    Case("amounts.trailer", file(3) + b"END;4\n", file(3) + b"END;3\n", TRAILER, line=5),
    Case("amounts.trailer_missing", file(3), file(3) + b"END;3\n", TRAILER, line=4),
    Case("amounts.removed", file(60), file(95), BOUNDS, last=file(100)),  # the exporter stopped early, with its last line whole
    Case("amounts.removed", file(12), file(100), BOUNDS, last=file(100)),  # a delta, where a snapshot is due
    Case("amounts.added", file(200), file(140), BOUNDS, last=file(100)),
    Case("amounts.changed", file(100, role="teacher"), file(30, role="teacher") + rows(70, first=30), BOUNDS, last=file(100)),
    Case(
        "amounts.group_gone",
        HEADER + rows(50, course="C2"),
        HEADER + rows(50, course="C2") + rows(3, course="C1"),
        {**GROUPS, "max_removed": "50%"},
        last=HEADER + rows(50, course="C2") + rows(4, course="C1"),
    ),
    Case(
        "amounts.group_removed",
        HEADER + rows(90, course="C2") + rows(5, course="C1"),
        HEADER + rows(90, course="C2") + rows(7, course="C1"),
        GROUPS,
        last=HEADER + rows(90, course="C2") + rows(10, course="C1"),
    ),
    Case(  # one group replaced by another's people
        "amounts.group_added",
        HEADER + rows(90, course="C2") + rows(10, course="C1", first=500),
        HEADER + rows(90, course="C2") + rows(4, course="C1", first=500) + rows(10, course="C1"),
        GROUPS,
        last=HEADER + rows(90, course="C2") + rows(10, course="C1"),
    ),
    Case(
        "amounts.group_changed",
        HEADER + rows(90, course="C2") + rows(10, course="C1", role="teacher"),
        HEADER + rows(90, course="C2") + rows(5, course="C1", role="teacher") + rows(5, course="C1", first=5),
        GROUPS,
        last=HEADER + rows(90, course="C2") + rows(10, course="C1"),
    ),
    # sameness
    Case("sameness.same", file(3), file(4), {**TABLE, "repeat": "hold"}, last=file(3)),
    # kind
    Case("kind.html", b"<!DOCTYPE html>\n<html><body>Error 500</body></html>\n", file(1)),
    Case("kind.html", b"\n<h1>Not found</h1>", file(1)),
    Case("kind.data", b'{"error": "no session"}\n', file(1)),
    Case("kind.data", b"[\n {}\n]", file(1)),
    Case("kind.data", b"<?xml version='1.0'?><a/>", file(1)),
    Case("kind.data", WORKBOOK, file(1)),
    Case("kind.data", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), file(1)),
    Case("kind.data", b"\x89PNG\r\n\x1a\n" + bytes(100), file(1)),
    Case("kind.data", b"%PDF-1.7\n" + bytes(100), file(1)),
    Case("kind.packed", gzip.compress(file(1)), file(1)),
    Case("kind.packed", packed(file(1)), file(1)),
    Case("kind.not_packed", file(1), gzip.compress(file(1)), {**TABLE, "format": "gzip"}),
    Case("kind.damaged", gzip.compress(file(50))[:-12], gzip.compress(file(50)), {**TABLE, "format": "gzip"}),
    Case("kind.damaged", packed(file(1), ("a.csv", "b.csv")), packed(file(1)), {**TABLE, "format": "zip"}),
]


def verdict(content: bytes, contract: dict[str, Any], last: bytes | None = None) -> ContractVerdict:
    """What a contract says of a file, with the file that was processed last."""
    history = History()
    if last is not None:
        before = Processed(sha256=sha256(last).hexdigest(), at=NOW)
        history = History(open_last=lambda: io.BytesIO(last), processed=[before])
    return judge(io.BytesIO(content), ContractSettings(**contract), history, now=NOW)


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case.code}" for number, case in enumerate(CASES)])
def test_a_bad_file_and_its_twin(case: Case) -> None:
    """A file that has a thing wrong gets the objection, with its line, in both languages; its twin passes."""
    bad = verdict(case.bad, case.contract, case.last)
    found = {objection.code: objection for objection in bad.objections}
    assert case.code in found, found
    if case.line is not None:
        assert found[case.code].line == case.line
    for objection in bad.objections:
        for language in Language:
            assert objection.sentence(language).isprintable() and objection.advice(language)
            assert "{" not in objection.sentence(language).replace("{}", "")[:1]
    good = verdict(case.good, case.contract, case.last)
    assert good.is_good, good.objections
    assert (bad.sha256, bad.size_bytes) == (sha256(case.bad).hexdigest(), len(case.bad))
    assert (good.sha256, good.size_bytes) == (sha256(case.good).hexdigest(), len(case.good))


def test_each_code_has_a_case() -> None:
    """No sentence is there that no file of this suite gets."""
    elsewhere = {"check.failed", "kind.too_large", "sameness.days", "sameness.older"}
    assert {case.code for case in CASES} | elsewhere == set(TEXTS)


def test_the_number_of_rows() -> None:
    """Rows are counted without header, trailer and blank lines at the end; of a text, lines are."""
    assert verdict(file(7) + b"\n\n", TABLE).rows == 7
    assert verdict(file(7) + b"END;7\n", TRAILER).rows == 7
    assert verdict(b"a\nb\nc", {"format": "text"}).rows == 3


def test_a_file_that_was_processed_before() -> None:
    """The same file for too many days, and an older one again, are objections; the same once more is none."""
    old, last = file(3), file(4)

    def processed(*contents: tuple[bytes, int]) -> History:
        return History(
            processed=[Processed(sha256=sha256(content).hexdigest(), at=NOW - timedelta(days=ago)) for content, ago in contents]
        )

    contract = ContractSettings(**TABLE, max_repeat_days=3)
    history = processed((last, 1), (last, 2), (old, 9))
    assert judge(io.BytesIO(last), contract, history, now=NOW).is_good
    [days] = judge(io.BytesIO(last), contract, history, now=NOW + timedelta(days=2)).objections
    assert (days.code, days.details) == ("sameness.days", {"days": 4})
    [older] = judge(io.BytesIO(old), contract, history, now=NOW).objections
    assert older.code == "sameness.older"
    assert judge(io.BytesIO(file(5)), contract, history, now=NOW).is_good


def test_columns_in_another_order() -> None:
    """The same rows with their columns in another order are the same; a last file without the key is compared with nothing."""
    old = b"uid;rolename;cid;cmd\n" + b"".join(f"u{number:05d};student;C1;add\n".encode() for number in range(20))
    found = verdict(file(20), BOUNDS | {"max_changed": 0}, old)
    assert found.is_good and found.difference is not None and found.difference.whole.changed == 0
    other = verdict(file(20), BOUNDS, b"cmd;rolename;uid\n" + b"add;student;u1\n" * 20)
    assert other.is_good and other.difference is None


def test_lines_behind_rows_that_are_left_out() -> None:
    """A row that lacks fields, or is empty, moves no line number of what is wrong behind it."""
    found = verdict(HEADER + ONE + b"add;C1\n;;;\n" + b"=add;s;C1;u2\nadd;s;C1;\n", TABLE).objections
    assert {objection.code: objection.line for objection in found} == {
        "table.fields": 3,
        "table.empty_row": 4,
        "table.start": 5,
        "keys.empty": 6,
    }


def test_many_of_a_kind() -> None:
    """Of many rows with the same thing wrong, the first is named and all are counted."""
    content = file(2) + b"add;s;C1\n" * 25_000 + rows(1, first=9)
    [objection] = verdict(content, TABLE).objections
    assert (objection.code, objection.line, objection.count) == ("table.fields", 4, 25_000)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEADER + b'"' + b"x;y\n" * 300_000, id="a quote that never closes"),
        pytest.param(b"a;" * 600_000 + b"\n", id="a million columns"),
        pytest.param(b"cmd" + b";x" * 20_000 + b"\n", id="twenty thousand columns"),
        pytest.param(b"x" * 8_000_000, id="one line"),
        pytest.param(bytes(1_000_000), id="zeros"),
        pytest.param(b"\r" * 100_000, id="carriage returns"),
        pytest.param(b'"\n' * 100_000, id="quotes"),
        pytest.param(b"\xff" * 100_000, id="no text"),
    ],
)
def test_what_is_no_table(content: bytes) -> None:
    """What is no table at all has an objection, and its hash is that of the whole."""
    found = verdict(content, TABLE)
    assert not found.is_good
    assert found.sha256 == sha256(content).hexdigest()


def test_a_trailer_without_end() -> None:
    """A pattern that takes for ever on a line is stopped; the line is not the trailer then."""
    contract = {**TABLE, "trailer": "(a+)+b"}
    content = file(2) + b"a" * 60 + b"c\n"
    assert "amounts.trailer_missing" in [objection.code for objection in verdict(content, contract).objections]


def test_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """What grows without end when it is unpacked is read to a bound."""
    monkeypatch.setattr("sftpgate.contracts.judge.MOST_UNPACKED_BYTES", 1_000_000)
    bomb = gzip.compress(HEADER + b"add;s;C1;u\n" * 200_000)
    codes = [objection.code for objection in verdict(bomb, {**TABLE, "format": "gzip"}).objections]
    assert "kind.too_large" in codes


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b";" * 1_000_000 + b"\n", "table.fields"),
        (HEADER + (b";" * 1_000_000 + b"\n") * 3, "table.fields"),
        (HEADER + b"x" * 20_000_000, "text.line_length"),
        (HEADER + bytes(20_000_000), "text.line_length"),
        (HEADER + b'add;"student;C1;u1\n' + rows(100_000), "table.quote_open"),
    ],
    ids=["columns", "wide rows", "one line", "nothing", "an open quote"],
)
def test_files_that_are_made_to_hurt(content: bytes, code: str) -> None:
    """Of a file that no memory would be enough for, no more is read into memory than shows that (tests/load has them whole)."""
    tracemalloc.start()
    found = [objection.code for objection in verdict(content, TABLE).objections]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert code in found
    assert peak < 12_000_000


def test_too_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of more rows than a judge has memory for is not read to its end, and says so."""
    monkeypatch.setattr("sftpgate.contracts.table.MOST_ROWS", 25_000)
    found = verdict(file(40_000), TABLE)
    assert [(each.code, each.details["limit"]) for each in found.objections] == [("amounts.too_many", 25_000)]
    assert verdict(file(25_000), TABLE).is_good


def test_too_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines without anything in them are counted too, and read to a bound."""
    monkeypatch.setattr("sftpgate.contracts.bytes_check.MOST_LINES", 100_000)
    found = verdict(file(2) + b"\n" * 1_000_000, TABLE)
    assert "amounts.too_many" in [each.code for each in found.objections]
    assert verdict(file(2) + b"\n" * 90_000, TABLE).is_good
    [blank] = verdict(file(2) + b"\n" * 30_000 + b"add;student;C9;u1\n", TABLE).objections
    assert (blank.code, blank.line) == ("table.blank", 4)


def test_a_table_of_many_columns() -> None:
    """As many columns as a table may have are read like few."""
    names = [f"c{number}" for number in range(5000)]
    content = (";".join(names) + "\n").encode() + (b"x;" * 4999 + b"x\n") * 300
    contract = {"header": names[:2], "key": names[:1]}
    assert {each.code for each in verdict(content, contract).objections} == {"keys.doubled"}
