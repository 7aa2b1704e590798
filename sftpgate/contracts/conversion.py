"""A text in another encoding than its tool expects, written anew in that one: for contracts that say so.

Nothing is guessed by frequencies. A text is UTF-16 if it begins with a mark of that, UTF-8 if all of it is, and otherwise what
the contract says (``convert_from``), if every byte means something there. What is none of them is left as it is, and so is what
has a letter that the tool's encoding does not have. Reads in pieces, in bounded memory; blocks as its streams do.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from sftpgate.settings.contracts import ContractSettings

_PIECE_BYTES = 1024 * 1024
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def converted(content: BinaryIO, contract: ContractSettings, into: BinaryIO) -> str | None:
    """Write a text to ``into`` in the encoding of ``contract``, and return the name of the one that it is in; None if there is
    nothing to convert, or it cannot be converted: what is in ``into`` means nothing then.
    """
    source = encoding_of(content, contract)
    if source is None:
        return None
    encoder = codecs.getincrementalencoder(contract.encoding)("strict")
    try:
        for text in _pieces(content, source):
            into.write(encoder.encode(text))
        into.write(encoder.encode("", final=True))
    except UnicodeError:
        return None
    into.flush()
    return source.removesuffix("-sig")


def encoding_of(content: BinaryIO, contract: ContractSettings) -> str | None:
    """Return what a text is in, by the name that Python has for it; None if that is what its tool expects, or not known."""
    expected = codecs.lookup(contract.encoding).name
    content.seek(0)
    head = content.read(4)
    if head.startswith(_UTF16_MARKS):
        return "utf-16" if _is(content, "utf-16") else None
    if head.startswith(codecs.BOM_UTF8) and (expected != "utf-8" or not contract.bom):
        return "utf-8-sig" if _is(content, "utf-8-sig") else None
    if expected != "utf-8" and not _is(content, "ascii") and _is(content, "utf-8"):
        return "utf-8"
    if _is(content, contract.encoding):
        return None
    return contract.convert_from if _is(content, contract.convert_from) else None


def sha256_of(content: BinaryIO) -> str:
    """Return the SHA-256 (hex) of a whole file."""
    content.seek(0)
    found = hashlib.sha256()
    while piece := content.read(_PIECE_BYTES):
        found.update(piece)
    return found.hexdigest()


def _is(content: BinaryIO, encoding: str) -> bool:
    try:
        return all("\0" not in text for text in _pieces(content, encoding))  # no text has one
    except UnicodeError:
        return False


def _pieces(content: BinaryIO, encoding: str) -> Iterator[str]:
    """Yield a text in pieces. Raises UnicodeError if it is not in this encoding."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    content.seek(0)
    while piece := content.read(_PIECE_BYTES):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)
