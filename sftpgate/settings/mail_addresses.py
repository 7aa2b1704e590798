"""What a mail address may be: the part of RFC 5321 that mail servers take, in ASCII, and nothing that could begin a header.

A domain in other letters is written in its ASCII form (``xn--…``), as mail servers know it. Quoted local parts are refused:
nobody has one, and each program reads them in another way.
"""

from __future__ import annotations

import re

MAX_LENGTH = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def address_problem(text: str) -> str | None:
    """Return what is wrong with a mail address, as the end of a sentence; None if nothing is."""
    local, at, domain = text.rpartition("@")
    if any(not character.isprintable() or character.isspace() for character in text):
        return "has a blank, a line end or a control character in it"
    if not at or not local:
        return "is no mail address such as it@school.example"
    if not text.isascii():
        return "has letters that mail servers do not take: write the domain in its ASCII form (xn--…)"
    if len(text) > MAX_LENGTH or len(local) > 64:
        return "is longer than a mail address can be"
    if not _LOCAL.fullmatch(local):
        return f"has no valid name before the @: {local}"
    if not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        return f"has no valid domain behind the @: {domain}"
    return None
