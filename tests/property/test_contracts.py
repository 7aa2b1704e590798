"""Contracts, against any table: a valid file has no objection, and a mutation of a kind is found, wherever it is."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from sftpgate.contracts.judge import ContractVerdict, History, judge
from sftpgate.settings.contracts import ContractSettings

CONTRACT = ContractSettings.model_validate(
    {"header": ["uid", "name", "cid"], "key": ["uid", "cid"], "group": "cid", "max_removed": "40%", "final_newline": True}
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn")), max_size=20).filter(
    lambda name: "\ufffd" not in name and not any("\u00c2" <= letter <= "\u00c3" for letter in name) and "â€" not in name
)
ROWS = st.dictionaries(st.tuples(st.integers(0, 10**6), st.sampled_from(["C1", "C2"])), NAMES, min_size=4, max_size=40)
Table = dict[tuple[int, str], str]


def written(rows: Table, *, end: str = "\n") -> bytes:
    """The table as a careful exporter writes it."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator=end)
    writer.writerow(["uid", "name", "cid"])
    writer.writerows([f"u{number:07d}", name, course] for (number, course), name in rows.items())
    return text.getvalue().encode()


def verdict(content: bytes, last: bytes | None = None) -> ContractVerdict:
    """What the contract says."""
    history = History(open_last=lambda: io.BytesIO(last)) if last is not None else History()
    return judge(io.BytesIO(content), CONTRACT, history)


def codes(content: bytes, last: bytes | None = None) -> set[str]:
    """The objections' codes."""
    return {objection.code for objection in verdict(content, last).objections}


@given(ROWS, st.sampled_from(["\n", "\r\n"]))
def test_a_valid_file(rows: Table, end: str) -> None:
    """A table that keeps the contract has no objection: alone, and against the same one in another order."""
    content = written(rows, end=end)
    assert verdict(content).is_good
    other = written(dict(reversed(rows.items())), end=end)
    found = verdict(content, other)
    assert found.is_good, found.objections
    assert found.difference is not None
    counts = found.difference.whole
    assert (counts.of, counts.added, counts.changed, counts.removed) == (len(rows), 0, 0, 0)


@given(ROWS, ROWS)
def test_the_difference(old: Table, new: Table) -> None:
    """The difference is the one of two dictionaries, as a whole and in each group."""
    found = verdict(written(new), written(old)).difference
    assert found is not None
    for group in ("C1", "C2", None):
        before = {key: name for key, name in old.items() if group in (None, key[1])}
        after = {key: name for key, name in new.items() if group in (None, key[1])}
        if group is not None and not (before or after):
            continue
        counts = found.whole if group is None else found.groups[group]
        changed = [key for key in before.keys() & after.keys() if before[key] != after[key]]
        expected = (len(before), len(after.keys() - before.keys()), len(changed), len(before.keys() - after.keys()))
        assert (counts.of, counts.added, counts.changed, counts.removed) == expected


def _at_line(content: bytes, number: int, change: Callable[[bytes], bytes]) -> bytes:
    lines = content.splitlines(keepends=True)
    place = 1 + number % (len(lines) - 1)
    lines[place] = change(lines[place])
    return b"".join(lines)


MUTATIONS: dict[str, tuple[set[str], Callable[[bytes, int], bytes]]] = {
    "a mark": ({"text.bom"}, lambda content, _: b"\xef\xbb\xbf" + content),
    "a NUL": ({"text.nul"}, lambda content, number: _at_line(content, number, lambda line: line[:9] + b"\0" + line[9:])),
    "a letter of cp1252": (
        {"text.encoding"},
        lambda content, number: _at_line(content, number, lambda line: line[:9] + b"\xe9" + line[9:]),
    ),
    "a letter read twice": (
        {"text.mangled"},
        lambda content, number: _at_line(content, number, lambda line: line[:9] + "Ã©".encode() + line[9:]),
    ),
    "a line end of Windows": (
        {"text.line_ends"},
        lambda content, number: _at_line(content, number, lambda line: line[:-1] + b"\r\n"),
    ),
    "no header": ({"table.header_missing"}, lambda content, _: content.partition(b"\n")[2]),
    "another delimiter": ({"table.delimiter", "table.header_missing"}, lambda content, _: content.replace(b";", b"\t")),
    "a field too few": (
        {"table.fields"},
        lambda content, number: _at_line(content, number, lambda line: line.rpartition(b";")[0] + b"\n"),
    ),
    "a field too many": ({"table.fields"}, lambda content, number: _at_line(content, number, lambda line: line[:-1] + b";\n")),
    "emptied rows": ({"table.empty_row"}, lambda content, _: content + b";;\n" * 9),
    "a formula": ({"table.start"}, lambda content, number: _at_line(content, number, lambda line: b"=" + line)),
    "a doubled key": ({"keys.doubled"}, lambda content, number: content + content.splitlines(keepends=True)[1 + number % 3]),
    "an empty key": ({"keys.empty"}, lambda content, number: _at_line(content, number, lambda line: line[line.index(b";") :])),
    "no last line end": ({"text.final_newline"}, lambda content, _: content[:-1]),
    "the header alone": ({"amounts.header_only"}, lambda content, _: content.partition(b"\n")[0] + b"\n"),
    "nothing": ({"amounts.empty"}, lambda _, __: b""),
    "UTF-16": ({"text.utf16"}, lambda content, _: content.decode().encode("utf-16")),
    "an invisible character": ({"text.invisible"}, lambda content, _: content.replace(b"uid", b"uid\xe2\x80\x8b", 1)),
    "lone carriage returns": ({"text.lone_cr"}, lambda content, _: content.replace(b"\n", b"\r")),
    "a long line": (
        {"text.line_length"},
        lambda content, number: _at_line(content, number, lambda line: line[:9] + b"x" * 1_200_000 + line[9:]),
    ),
    "a renamed column": ({"table.column_missing"}, lambda content, _: content.replace(b"name", b"nom", 1)),
    "a column twice": ({"table.column_doubled"}, lambda content, _: content.replace(b"cid", b"uid", 1)),
    "a quote that is not closed": (
        {"table.quote_open", "table.quote_stray", "table.cell_newline", "table.fields"},
        lambda content, number: _at_line(content, number, lambda line: line.replace(b";", b';"', 1)),
    ),
    "a line end in a cell": (
        {"table.cell_newline"},
        lambda content, number: _at_line(content, number, lambda line: b'"u\n1' + line.replace(b";", b'";', 1)),
    ),
    "a blank line": ({"table.blank"}, lambda content, number: _at_line(content, number, lambda line: b"\n" + line)),
    "a key too long": ({"keys.length"}, lambda content, number: _at_line(content, number, lambda line: b"u" * 300 + line)),
    "a web page": ({"kind.html"}, lambda content, _: b"<!DOCTYPE html>\n" + content),
    "JSON": ({"kind.data"}, lambda content, _: b'{"rows": []}\n' + content),
    "a packed file": ({"kind.packed"}, lambda content, _: gzip.compress(content)),
}


@settings(max_examples=150)
@given(ROWS, st.integers(0, 100), st.sampled_from(sorted(MUTATIONS)))
def test_a_mutation(rows: Table, number: int, kind: str) -> None:
    """Whatever is done to a valid file is found, wherever it is done."""
    expected, mutate = MUTATIONS[kind]
    assert codes(mutate(written(rows), number)) & expected, kind


@given(ROWS, st.integers(1, 100))
def test_an_export_that_stopped(rows: Table, share: int) -> None:
    """A beginning of the last file is held if it lacks more than the bound."""
    kept = dict(list(rows.items())[: max(1, len(rows) * share // 100)])
    removed = len(rows) - len(kept)
    assert ("amounts.removed" in codes(written(kept), written(rows))) == (removed > 0.4 * len(rows))


@given(st.binary(max_size=400), st.integers(1, 64))
def test_any_bytes(content: bytes, block: int) -> None:
    """Any bytes get a verdict, and the same one however the file comes in pieces."""

    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(block, size) if size is not None and size > 0 else block)

    whole = verdict(content)
    pieces = judge(Dribble(content), CONTRACT)
    assert whole.sha256 == pieces.sha256
    assert whole.is_good == pieces.is_good
    found = {objection.code for objection in whole.objections}
    if "text.encoding" not in found:  # the rest is not read then, and where a piece ends is chance
        assert found == {objection.code for objection in pieces.objections}
