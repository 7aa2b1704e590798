"""How a text ends."""

from __future__ import annotations

import pytest

from sftpgate.policy.texts import END_BYTES, Ending, breaks_off, ending, ends_on_purpose, last_line_ends

ROWS = b"".join(b"user%d,math,%d\n" % (number, number**2) for number in range(40))
RECORDS = b"".join(b"%019d\n" % number for number in range(40))
PLAIN = b"".join(b"%s and more\n" % (b"word " * (number % 7)) for number in range(40))


def of(content: bytes) -> Ending:
    """The ending of a file of this content."""
    return ending(len(content), lambda at, length: content[at : at + length])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", Ending.LINE),
        (b"a", Ending.INSIDE_LINE),
        (b"a\n", Ending.LINE),
        (b"a,b\r\nc,d\r", Ending.LINE),
        (PLAIN, Ending.LINE),
        (PLAIN + b"wo", Ending.INSIDE_LINE),
        (ROWS, Ending.LINE),
        (ROWS[:-1], Ending.INSIDE_LINE),
        (ROWS + b"user41,ma", Ending.RAGGED),
        (ROWS.replace(b",", b";") + b"user41", Ending.RAGGED),
        (ROWS + b'user41,"a\nb",3', Ending.INSIDE_LINE),
        (ROWS + b"total\n", Ending.LINE),
        (RECORDS, Ending.LINE),
        (RECORDS[:-1], Ending.LINE),
        (RECORDS + b"0000", Ending.RAGGED),
        (RECORDS.replace(b"\n", b"\r\n")[:-2], Ending.LINE),
        (PLAIN + "é\n".encode("latin-1") * 3 + "é".encode("latin-1"), Ending.INSIDE_LINE),
        (b"\0" + RECORDS, Ending.NO_TEXT),
        (RECORDS * 200 + b"\0" * 100 + RECORDS * 200 + b"0", Ending.NO_TEXT),
        (RECORDS * (END_BYTES // len(RECORDS) + 9) + b"00", Ending.RAGGED),
        (ROWS * (END_BYTES // len(ROWS) + 9) + b"user", Ending.RAGGED),
    ],
)
def test_endings(content: bytes, expected: Ending) -> None:
    """P1: an end inside a record, or with fewer fields than every line before, is told from others."""
    assert of(content) is expected


ACCENTS = "".join(f"élève {number};été\n" for number in range(40)).encode()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ROWS, ""),
        (ROWS[:-1], ""),
        (ROWS + b"user41,ma", ""),
        (ROWS + b"total\n", ""),
        (ROWS + b'user41,"a\nb', "CSV"),
        (ROWS + b'user41,"a\n', "CSV"),
        (ROWS + b'user41,"a', "CSV"),
        (ROWS * 2000 + b'user41,"a', "CSV"),
        (ROWS + b'user41,"a\nb",3', ""),
        (ROWS + b'user41,5",3\n', ""),  # a quote inside a field is no more than that
        (ROWS[:400] + b'\nuser,"stray,3\n' + ROWS * 4, ""),
        (b'a\n"b', ""),
        (ACCENTS, ""),
        (ACCENTS[:-1], ""),
        (ACCENTS[:-2], "UTF-8"),
        (ACCENTS.decode().encode("latin-1")[:-1], ""),
        (PLAIN + b"\xc3", ""),
        (b"\0" * 9000 + b'"', ""),
        (b"", ""),
    ],
)
def test_what_no_whole_file_ends_inside_of(content: bytes, expected: str) -> None:
    """P1: a quoted field that does not end, and half a character, are signs of a part, however it came."""
    assert breaks_off(len(content), lambda at, length: content[at : at + length]) == expected


MIB = 1024 * 1024
LONG = (b"".join(b"user%06d,%s\n" % (number, b"x" * (number % 50)) for number in range(40_000)))[: MIB - 2] + b"x\n"


@pytest.mark.parametrize(
    ("content", "block", "expected"),
    [
        (LONG, 32768, True),
        (LONG[:-1] + b"x", 32768, False),
        (b"%063d\n" % 7 * (MIB // 64), 32768, False),
        (b"%063d\n" % 7 * (MIB // 64), 16384, False),
        (LONG[-65536:], 32768, False),  # too few blocks to tell
        (LONG[:-4] + b"\0\0\0\n", 32768, False),
        (b"\n", 1, False),
        (b"", 4096, False),
    ],
)
def test_ends_on_purpose(content: bytes, block: int, expected: bool) -> None:
    """P1: a text that ends with a line where its blocks do not was not cut behind a block."""
    assert ends_on_purpose(len(content), block, lambda at, length: content[at : at + length]) is expected


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16(codec: str) -> None:
    """P1: text in UTF-16 is text."""
    mark = "\ufeff".encode(codec)
    assert of(mark + ROWS.decode().encode(codec)) is Ending.LINE
    assert of(mark + (ROWS.decode() + "user41,ma").encode(codec)) is Ending.RAGGED
    assert of(mark + ROWS.decode()[:-1].encode(codec)) is Ending.INSIDE_LINE
    assert of(mark + (ROWS.decode() + "😀").encode(codec)[:-2]) is Ending.RAGGED


def test_last_lines() -> None:
    """P1: how earlier files of a path ended is told by their last bytes."""

    def told(content: bytes) -> bool | None:
        return last_line_ends(len(content), lambda at, length: content[at : at + length])

    assert [told(ROWS), told(ROWS[:-1]), told(b""), told(b"\0\1"), told(("\ufeff" + "a\n").encode("utf-16-le"))] == [
        True,
        False,
        None,
        None,
        True,
    ]
