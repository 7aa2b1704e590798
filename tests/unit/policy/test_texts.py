"""How a text ends."""

from __future__ import annotations

import pytest

from sftpgate.policy.texts import (
    END_BYTES,
    TextEnd,
    blocks_end_lines,
    breaks_off,
    ending,
    ends_line_by_choice,
    ends_on_purpose,
    last_line_ends,
    unmarked_utf16,
)

ROWS = b"".join(b"user%d,math,%d\n" % (number, number**2) for number in range(40))
RECORDS = b"".join(b"%019d\n" % number for number in range(40))
PLAIN = b"".join(b"%s and more\n" % (b"word " * (number % 7)) for number in range(40))


def of(content: bytes) -> TextEnd:
    """The ending of a file of this content."""
    return ending(len(content), lambda at, length: content[at : at + length])


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", TextEnd.LINE),
        (b"a", TextEnd.INSIDE_LINE),
        (b"a\n", TextEnd.LINE),
        (b"a,b\r\nc,d\r", TextEnd.LINE),
        (PLAIN, TextEnd.LINE),
        (PLAIN + b"wo", TextEnd.INSIDE_LINE),
        (ROWS, TextEnd.LINE),
        (ROWS[:-1], TextEnd.INSIDE_LINE),
        (ROWS + b"user41,ma", TextEnd.RAGGED),
        (ROWS.replace(b",", b";") + b"user41", TextEnd.RAGGED),
        (ROWS + b'user41,"a\nb",3', TextEnd.INSIDE_LINE),
        (ROWS + b"total\n", TextEnd.LINE),
        (RECORDS, TextEnd.LINE),
        (RECORDS[:-1], TextEnd.LINE),
        (RECORDS + b"0000", TextEnd.RAGGED),
        (RECORDS.replace(b"\n", b"\r\n")[:-2], TextEnd.LINE),
        (PLAIN + "é\n".encode("latin-1") * 3 + "é".encode("latin-1"), TextEnd.INSIDE_LINE),
        (b"\0" + RECORDS, TextEnd.NO_TEXT),
        (RECORDS * 200 + b"\0" * 100 + RECORDS * 200 + b"0", TextEnd.NO_TEXT),
        (RECORDS * (END_BYTES // len(RECORDS) + 9) + b"00", TextEnd.RAGGED),
        (ROWS * (END_BYTES // len(ROWS) + 9) + b"user", TextEnd.RAGGED),
    ],
)
def test_endings(content: bytes, expected: TextEnd) -> None:
    """An end inside a record, or with fewer fields than every line before, is told from others."""
    assert of(content) is expected


ACCENTS = "".join(f"élève {number};été\n" for number in range(40)).encode()


@pytest.mark.promise("P1")
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
    """A quoted field that does not end, and half a character, are signs of a part, however it came."""
    assert breaks_off(len(content), lambda at, length: content[at : at + length]) == expected


MIB = 1024 * 1024
LONG = (b"".join(b"user%06d,%s\n" % (number, b"x" * (number % 50)) for number in range(40_000)))[: MIB - 2] + b"x\n"


@pytest.mark.promise("P1")
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
    """A text that ends with a line where its blocks do not was not cut behind a block."""
    assert ends_on_purpose(len(content), block, lambda at, length: content[at : at + length]) is expected


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("content", "block", "expected"),
    [
        (LONG[-65536:], 32768, True),
        (LONG[-32768:], 32768, True),
        (LONG[-65537:-1], 32768, False),
        (b"%063d\n" % 7 * 1024, 32768, False),  # each block ends a line
        (b"%063d\n" % 7 * 512, 32768, False),  # the only block does
        (b"%099d\n" % 7 * 4000, 32768, False),  # records of one length, and a size that their number gives
        (b"a,b\nc,dd\n" * 4000, 4096, False),  # every fifth byte ends a line
        (LONG[-65536:-4] + b"\0\0\0\n", 32768, False),
        (b"", 0, False),
    ],
)
def test_ends_line_by_choice(content: bytes, block: int, expected: bool) -> None:
    """A text of a few blocks ends a line by choice if its lines are long and differ, and no block before ends one."""
    assert ends_line_by_choice(len(content), block, lambda at, length: content[at : at + length]) is expected


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("content", "block", "expected"),
    [
        (b"%063d\n" % 7 * 512, 2048, True),
        (b"%063d\n" % 7 * 512, 2000, False),
        (LONG, 8192, False),
        (b"%063d\n" % 7 * 512 + b"x", 2048, False),
        (b"", 2048, False),
    ],
)
def test_blocks_that_end_lines(content: bytes, block: int, expected: bool) -> None:
    """What an application writes line by line is told from a file that is cut into blocks."""
    assert blocks_end_lines(len(content), block, lambda at, length: content[at : at + length]) is expected


@pytest.mark.promise("P1")
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16(codec: str) -> None:
    """Text in UTF-16 is text."""
    mark = "\ufeff".encode(codec)
    assert of(mark + ROWS.decode().encode(codec)) is TextEnd.LINE
    assert of(mark + (ROWS.decode() + "user41,ma").encode(codec)) is TextEnd.RAGGED
    assert of(mark + ROWS.decode()[:-1].encode(codec)) is TextEnd.INSIDE_LINE
    assert of(mark + (ROWS.decode() + "😀").encode(codec)[:-2]) is TextEnd.RAGGED


@pytest.mark.promise("P1")
def test_last_lines() -> None:
    """How earlier files of a path ended is told by their last bytes."""

    def told(content: bytes) -> bool | None:
        return last_line_ends(len(content), lambda at, length: content[at : at + length])

    assert [told(ROWS), told(ROWS[:-1]), told(b""), told(b"\0\1"), told(("\ufeff" + "a\n").encode("utf-16-le"))] == [
        True,
        False,
        None,
        None,
        True,
    ]


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        ("user,course\nélève,maths\n".encode("utf-16-le"), "utf-16-le"),
        ("user,course\nélève,maths\n".encode("utf-16-be"), "utf-16-be"),
        (b"user,course\n", ""),
        (bytes(100), ""),
        (b"a\0", ""),
        (b"PK\3\4\0\0\0\0\x08\0", ""),
        (b"", ""),
    ],
)
def test_utf16_without_a_mark(head: bytes, codec: str) -> None:
    """UTF-16 of Latin letters is known without its mark, and nothing else is taken for it."""
    assert unmarked_utf16(head) == codec
