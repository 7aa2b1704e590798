"""Formats that carry their own end: whole files of any content are known as whole, and beginnings of them never."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.policy.formats import Wholeness, examine

CONTENT = st.binary(max_size=3000) | st.integers(0, 400).map(lambda lines: b"".join(b"%d,a,b\n" % n for n in range(lines)))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


def told(content: bytes) -> Wholeness:
    """What the content says."""
    return examine(len(content), lambda at, length: content[at : at + length]).wholeness


def zipped(content: bytes) -> bytes:
    """An archive with another archive in it, not compressed: that has an end of its own."""
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.csv", content)
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("inner.zip", inner.getvalue())
        archive.comment = b"made by a test"
    return outer.getvalue()


def framed(content: bytes) -> bytes:
    """A zstd frame of raw blocks, one run-length block and a checksum, and a frame to be skipped before it."""
    skipped = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    head = (0xFD2FB528).to_bytes(4, "little") + bytes([0b00000100, 0x40])
    blocks = b"".join(
        (len(piece) << 3).to_bytes(3, "little") + piece
        for piece in (content[at : at + 700] for at in range(0, len(content), 700))
    )
    return head + blocks + (5 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"x" + b"sum." + skipped


def parquet(content: bytes) -> bytes:
    """The frame of a Parquet file."""
    footer = b"\x15\x02" + content[:100]
    return b"PAR1\x15\x04" + content + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def pdf(content: bytes) -> bytes:
    """One revision of a document, made for the web: its first part has an end of its own."""
    body = b"%PDF-1.7\nstartxref\n0\n%%EOF\n" + content.hex().encode() + b"\nxref\n"
    return body + b"startxref\n" + str(len(body) - 5).encode() + b"\n%%EOF"


MAKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content) + gzip.compress(b"second"),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": framed,
    "zip": zipped,
    "parquet": parquet,
    "pdf": pdf,
    "xml": lambda content: f"<?xml version='1.0'?><!-- é --><a x='1'>{escape(content.hex())}<b/></a>".encode(),
}
# What a format allows as an end of its own: the first of several members or frames.
ALLOWED: dict[str, Callable[[bytes, int], bool]] = {
    "gzip": lambda whole, cut: whole[cut:].startswith(b"\x1f\x8b"),
    "zstd": lambda whole, cut: cut == len(whole) - 11,
}


@pytest.mark.promise("P1")
@pytest.mark.parametrize("kind", MAKERS)
@given(content=CONTENT, data=st.data())
def test_whole_files_and_their_beginnings(kind: str, content: bytes, data: Any) -> None:
    """A whole file of the format is known as whole, and no beginning of it is."""
    whole = MAKERS[kind](content)
    assert told(whole) is Wholeness.WHOLE
    cut = data.draw(st.integers(0, len(whole) - 1) | st.integers(max(0, len(whole) - 40), len(whole) - 1))
    if kind not in ALLOWED or not ALLOWED[kind](whole, cut):
        found = told(whole[:cut])
        assert found is (Wholeness.CUT if cut > 16 else found)
        assert found is not Wholeness.WHOLE


@pytest.mark.promise("P1")
@given(DOCUMENTS, st.booleans(), st.none() | st.integers(0, 4), st.data())
def test_json(document: Any, ascii_only: bool, indent: int | None, data: Any) -> None:
    """A whole JSON document is known as whole, and a beginning of it as cut."""
    whole = json.dumps([document], ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    if b"\xed" in whole:
        return  # half a surrogate pair is no UTF-8
    assert told(whole) is Wholeness.WHOLE and told(whole + b"\r\n") is Wholeness.WHOLE
    assert told(whole[: data.draw(st.integers(1, len(whole) - 1))]) is Wholeness.CUT


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a,b\n1,2\n",
        b"[section]\nkey = value\n",
        b"[1] note\n",
        b"{name}: x\n",
        b'{"a": 1}\n{"a": 2}\n',
        b"<html><br><p>no end</html>\n",
        b"< 5 is what we want\n",
        b"BZh9;a;b\n",
        b"BZhang,Li\n",
        b"PAR1;a;b;c\n",
        b"\x1f\x8b\x08\x00" + b"no gzip at all, whatever its magic number says",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "\ufeffa;b\n".encode("utf-16-le"),
    ],
)
def test_what_carries_no_end(content: bytes) -> None:
    """Content that only looks like a format is neither whole nor cut."""
    assert told(content) is Wholeness.OPEN


@pytest.mark.promise("P1")
def test_an_odd_byte() -> None:
    """Text in UTF-16 with half a character at its end is cut."""
    assert told("\ufeffa;b\n".encode("utf-16-le")[:-1]) is Wholeness.CUT


@pytest.mark.promise("P1")
def test_reads_are_bounded() -> None:
    """Of a file of 16 GiB of each format no more than some MiB is read."""
    for kind, make in MAKERS.items():
        whole = make(b"a" * 100)
        read_bytes = 0

        def read(at: int, length: int, whole: bytes = whole) -> bytes:
            nonlocal read_bytes
            read_bytes += length
            return (whole[at : at + length] + b"\x01" * length)[:length]

        examine(16 * 1024**3, read)
        assert read_bytes < 5 * 1024**2, kind


@pytest.mark.promise("P1")
@given(CONTENT)
def test_a_bomb_is_left_alone(content: bytes) -> None:
    """What inflates without end, or nests without end, is not followed, and decides nothing."""
    bomb = gzip.compress(content + bytes(64 * 1024 * 1024), 1) if not content else gzip.compress(content)
    assert told(bomb) is (Wholeness.OPEN if not content else Wholeness.WHOLE)
    assert told(b"[" * 200_000) in (Wholeness.OPEN, Wholeness.CUT)
