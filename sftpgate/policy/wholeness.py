"""Whether a file that keeps somebody out is whole, when its new version would let somebody in. Pure.

Files of the keys directory are written by editors, scripts and configuration managers, often in place: for a moment, and after a
crash for good, they are gone, empty, or cut. A cut file is often well formed. So what keeps somebody out stays in force until a
version says otherwise that is whole:

- one that has the line ``# end``, which our commands write; what was cut does not have it;
- else, one that says something, is not the beginning of what was in force before, and stays as it is for a moment.

What lets nobody in needs no proof: it counts at once.
"""

from __future__ import annotations

END_LINE = "# end"
SETTLE_SECONDS = 0.3  # far above what a program needs between two writes of a file; a login waits for so long


def is_ended(text: str) -> bool:
    """Return whether a text has the line that says that it is whole. It may be anywhere: who adds lines by hand adds them
    behind it.
    """
    return any(line.strip().lower() == END_LINE for line in text.split("\n"))


def ended(text: str) -> str:
    """Return ``text`` with the line that says that it is whole."""
    if is_ended(text):
        return text
    return text + ("\n" if text and not text.endswith("\n") else "") + END_LINE + "\n"


def says_nothing(text: str) -> bool:
    """Return whether there are blanks and remarks only."""
    return all(not line.strip() or line.strip().startswith("#") for line in text.split("\n"))


def doubt(text: str | None, before: str) -> str | None:
    """Return why ``text`` may not be whole, if ``before`` was in force, as words behind its name; None if it is, if it
    stays as it is for ``SETTLE_SECONDS`` or is ended. ``text`` is None if the file is gone.
    """
    if text is None:
        return "is gone"
    if is_ended(text):
        return None
    if not text.strip():
        return "is empty"
    if before != text and before.startswith(text.rstrip("\n")):
        return f"is the beginning of what it was: if it is whole, write the line {END_LINE} at its end"
    return None
